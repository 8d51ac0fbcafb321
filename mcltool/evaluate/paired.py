"""Metrics of one output at a time: against its truth, its exemplar, or outputs of the same condition.

Each takes pairs whose outputs are of one size and returns numbers by key, one a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.errors import UsageError
from mcltool.core.pretrained import NETWORKS, load_tensors, load_vgg, weights_file
from mcltool.evaluate.folders import Pair
from mcltool.evaluate.truth import psnr
from mcltool.model.vgg import VGGFeatures, random_vgg

Columns = dict[str, list[float]]
"""Numbers by key, one a pair."""
PairScores = Callable[[Sequence[Pair]], Columns]
Distance = Callable[[Tensor, Tensor], list[float]]
"""Of (B, 3, H, W) uint8 images."""

STYLE_LAYERS = {"relu1_2": "style_colour", "relu2_2": "style_texture"}
SEMANTIC_LAYERS = ("relu3_2", "relu4_2", "relu5_2")
SSIM_WINDOW = 11
"""Pixels; no image may be smaller."""


def psnr_scores(pairs: Sequence[Pair]) -> Columns:
    """In dB over all pixels and colours, peak 255; infinite where output and truth are equal."""
    return {"psnr": [psnr(_pixels(pair.output), _pixels(_real(pair))) for pair in pairs]}


def ssim_scores() -> PairScores:
    """SSIM (Wang et al. 2004): 11 x 11 Gaussian window of deviation 1.5, range 255, mean of the colours.

    torchmetrics' way: the image is mirrored beyond its border, so that all pixels count.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    def run(pairs: Sequence[Pair]) -> Columns:
        outputs, reals = _outputs(pairs).float(), torch.stack([_real(pair) for pair in pairs]).float()
        if min(outputs.shape[2:]) < SSIM_WINDOW:
            raise UsageError(f"ssim: an image of {outputs.shape[3]} x {outputs.shape[2]} pixels is too small")
        found = structural_similarity_index_measure(outputs, reals, data_range=255.0, reduction="none")
        assert isinstance(found, Tensor)
        return {"ssim": found.reshape(-1).tolist()}

    return run


def lpips_distance(device: torch.device) -> Distance:
    """LPIPS (Zhang et al., arXiv 1801.03924) on AlexNet by torchmetrics, which ships its linear layers.

    Raises UsageError where AlexNet's weights are missing or do not fit, ImportError without torchmetrics.
    """
    # torchmetrics' public class can only download AlexNet, and unpickles it: its network is made without.
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    network = _NoTrainLpips(net="alex", pnet_rand=True)
    features = load_tensors("alexnet")
    named = {
        f"{part}.{index}.{kind}": features[f"features.{index}.{kind}"]
        for part, index in (("slice1", 0), ("slice2", 3), ("slice3", 6), ("slice4", 8), ("slice5", 10))
        for kind in ("weight", "bias")
    }
    try:
        network.net.load_state_dict(named)
    except RuntimeError as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"{NETWORKS['alexnet'].path}: not AlexNet's weights ({cause})") from None
    network.to(device)

    def run(a: Tensor, b: Tensor) -> list[float]:
        found: Tensor = network(_unit(a, device), _unit(b, device))
        return found.reshape(-1).tolist()

    return run


def l1_distance(a: Tensor, b: Tensor) -> list[float]:
    """Mean absolute difference of pixels, colours in [0, 1]."""
    found: list[float] = ((a.float() - b.float()).abs().mean((1, 2, 3)) / 255).tolist()
    return found


def distance_to_truth(key: str, distance: Distance) -> PairScores:
    """``distance`` of each output and its truth."""

    def run(pairs: Sequence[Pair]) -> Columns:
        return {key: distance(_outputs(pairs), torch.stack([_real(pair) for pair in pairs]))}

    return run


def diversity_scores(key: str, distance: Distance) -> PairScores:
    """The mean of ``distance`` over all pairs of outputs of one condition."""

    def run(pairs: Sequence[Pair]) -> Columns:
        versions = [_outputs(pairs), *map(torch.stack, zip(*(pair.others for pair in pairs), strict=True))]
        found = [distance(a, b) for i, a in enumerate(versions) for b in versions[i + 1 :]]
        return {key: [sum(column) / len(column) for column in zip(*found, strict=True)]}

    return run


def vgg_network(perceptual: Literal["vgg", "random"], device: torch.device) -> VGGFeatures:
    """VGG-19, or its stand-in with random filters. Raises UsageError where the weights are missing."""
    if perceptual == "random":
        return random_vgg().to(device)
    return load_vgg(weights_file("vgg19")).to(device)


def style_scores(network: VGGFeatures, device: torch.device) -> PairScores:
    """Style relevance (CoCosNet, arXiv 2004.05571): cosine of output and exemplars in VGG's low layers.

    Colour: relu1_2, texture: relu2_2. The pictures are laid out differently, so each layer's features are first
    averaged over all places, those of an output by its exemplars' weights: see ``weighted_cosine``.
    """
    layers = tuple(STYLE_LAYERS)

    def run(pairs: Sequence[Pair]) -> Columns:
        rows = []
        for pair, *outputs in zip(pairs, *network(_unit(_outputs(pairs), device), layers), strict=True):
            each = [
                [layer.mean((2, 3)) for layer in network(_unit(exemplar[None], device), layers)]
                for exemplar in _exemplars(pair)
            ]
            means = map(torch.cat, zip(*each, strict=True))
            weights = torch.ones(1, 1, 1) if pair.weights is None else torch.from_numpy(pair.weights)
            rows.append([weighted_cosine(*of, weights.to(device)) for of in zip(outputs, means, strict=True)])
        return dict(zip(STYLE_LAYERS.values(), map(list, zip(*rows, strict=True)), strict=True))

    return run


def weighted_cosine(output_CHW: Tensor, exemplars_EC: Tensor, weights_Ehw: Tensor) -> float:
    """How like an output's features are to the mean features of its exemplars, which weigh w_e(i) at place i.

    With shares s_e = w_e / sum_f w_f, each place's reference is sum_e s_e(i) m_e. Output and reference are averaged
    over the places by s_e, and the cosines of the two averages, one an exemplar, by the mean of s_e. So a region is
    compared with its own exemplar, and places that exemplars share with their mixture; of one exemplar it is the
    cosine of the two means.
    """
    shares_EN = (weights_Ehw / weights_Ehw.sum(0)).flatten(1).to(output_CHW.dtype)
    used = shares_EN.any(1)
    shares_EN, exemplars_EC, total_E = shares_EN[used], exemplars_EC[used], shares_EN[used].sum(1)
    grid = (weights_Ehw.shape[1], weights_Ehw.shape[2])
    output_NC = F.adaptive_avg_pool2d(output_CHW, grid).flatten(1).T
    ours_EC, theirs_EC = (
        (shares_EN @ of) / total_E[:, None] for of in (output_NC, shares_EN.T @ exemplars_EC)
    )
    return float((_cosine(ours_EC, theirs_EC) * total_E).sum() / total_E.sum())


def semantic_scores(network: VGGFeatures, device: torch.device) -> PairScores:
    """Semantic consistency (CoCosNet): cosine of output and truth in VGG's high layers, mean over the places."""

    def run(pairs: Sequence[Pair]) -> Columns:
        images = _outputs(pairs), torch.stack([_real(pair) for pair in pairs])
        ours, theirs = (network(_unit(image, device), SEMANTIC_LAYERS) for image in images)
        cosines = [_cosine(a, b).mean((1, 2)) for a, b in zip(ours, theirs, strict=True)]
        columns = {"semantic": torch.stack(cosines).mean(0).tolist()}
        names = (f"semantic_{layer}" for layer in SEMANTIC_LAYERS)
        return columns | {name: cosine.tolist() for name, cosine in zip(names, cosines, strict=True)}

    return run


def score_pairs(metrics: Sequence[PairScores], pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """All metrics of pairs whose outputs are of one size: numbers by key, by the pair's name."""
    with torch.inference_mode():
        columns = dict(chain.from_iterable(metric(pairs).items() for metric in metrics))
    return {
        pair.name: {key: column[index] for key, column in columns.items()} for index, pair in enumerate(pairs)
    }


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Over the channels (dimension 1); 1 where both are 0, as in a dead spot of equal pictures."""
    silent = ~(a.any(1) | b.any(1))
    return F.cosine_similarity(a, b, dim=1).masked_fill(silent, 1.0)


def _unit(images: Tensor, device: torch.device) -> Tensor:
    """Bytes to float32 in [-1, 1], the range of both LPIPS and VGGFeatures."""
    return images.to(device).float() / 127.5 - 1.0


def _outputs(pairs: Sequence[Pair]) -> Tensor:
    return torch.stack([pair.output for pair in pairs])


def _real(pair: Pair) -> Tensor:
    assert pair.real is not None, "this metric needs the truth"
    return pair.real


def _exemplars(pair: Pair) -> Sequence[Tensor]:
    assert pair.exemplars, "this metric needs the exemplar"
    return pair.exemplars


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    return image.permute(1, 2, 0).numpy()
