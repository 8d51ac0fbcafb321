"""Metrics of one output at a time, against equations written out here and known answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mcltool import UsageError
from mcltool.core.convert import convert_weights
from mcltool.core.pretrained import NETWORKS
from mcltool.evaluate.folders import Pair
from mcltool.evaluate.paired import (
    PairScores,
    distance_to_truth,
    diversity_scores,
    l1_distance,
    lpips_distance,
    psnr_scores,
    score_pairs,
    semantic_scores,
    ssim_scores,
    style_scores,
    vgg_network,
)
from mcltool.model.vgg import random_vgg

CPU = torch.device("cpu")
Bytes = NDArray[np.uint8]


def image(seed: int, size: tuple[int, int] = (32, 24)) -> Tensor:
    """Smooth colours with noise, (3, H, W)."""
    noise = np.random.default_rng(seed).uniform(0, 255, (3, *size))
    smooth = gaussian_filter(noise, (0, 2, 2), mode="wrap")
    spread = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy((255 * spread).astype(np.uint8))


def noisy(picture: Tensor, deviation: float) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)) * deviation
    return (picture.float() + noise).round().clamp(0, 255).to(torch.uint8)


def pairs(count: int = 3) -> list[Pair]:
    return [
        Pair(
            f"p{n}",
            noisy(image(n), 12),
            image(n),
            (image(n + 100, (24, 40)),),
            (image(n + 200), image(n + 300)),
        )
        for n in range(count)
    ]


def values(metric: PairScores, found: Sequence[Pair], key: str) -> list[float]:
    return [row[key] for row in score_pairs([metric], found).values()]


def test_psnr_is_that_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image", reason="needs the extra metrics")
    found = pairs()
    expected = [
        functional.peak_signal_noise_ratio(p.output.float(), p.real.float(), data_range=255.0).item()
        for p in found
        if p.real is not None
    ]
    assert values(psnr_scores, found, "psnr") == pytest.approx(expected, rel=1e-5)


def test_ssim_is_wangs_with_the_range_of_bytes() -> None:
    """Gaussian window of deviation 1.5 and 11 pixels, k1 = 0.01, k2 = 0.03, L = 255, the image mirrored beyond it."""
    pytest.importorskip("torchmetrics", reason="needs the extra metrics")

    def plain(a: Bytes, b: Bytes) -> float:
        def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(gaussian_filter(x, 1.5, radius=5, mode="mirror"))

        scores = []
        for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
            mx, my = blur(x), blur(y)
            vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            scores.append(
                ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
            )
        return float(np.mean(scores))

    found = pairs()
    expected = [plain(p.output.numpy(), p.real.numpy()) for p in found if p.real is not None]
    assert values(ssim_scores(), found, "ssim") == pytest.approx(expected, abs=2e-4)
    assert 0.2 < expected[0] < 0.95
    with pytest.raises(UsageError, match="ssim: an image of 8 x 32 pixels is too small"):
        ssim_scores()([Pair("thin", image(0, (32, 8)), image(1, (32, 8)))])


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """torchvision's network with random weights, which are converted as a user would."""
    torch.manual_seed(0)
    network = torchvision.models.alexnet().eval()
    folder = tmp_path_factory.mktemp("alexnet")
    torch.save(network.state_dict(), folder / "alexnet.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCLTOOL_HOME", str(folder))
        convert_weights(folder / "alexnet.pth")
    network.folder = folder  # type: ignore[assignment]
    return network


def plain_lpips(network: torch.nn.Module, a: Tensor, b: Tensor) -> float:
    """Zhang et al.: unit features of five layers, squared differences weighted by the published heads, averaged."""
    from torchmetrics.functional.image import lpips

    heads = torch.load(Path(lpips.__file__).parent / "lpips_models" / "alex.pth", "cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    features = []
    for picture in (a, b):
        h = ((picture.double() / 127.5 - 1 - shift[:, None, None]) / scale[:, None, None])[None].float()
        layers = []
        for index, layer in enumerate(network.features):  # type: ignore[arg-type]
            h = layer(h)
            if index in (1, 4, 7, 9, 11):
                layers.append(F.normalize(h.clone(), dim=1))
        features.append(layers)
    total = 0.0
    for number, (x, y) in enumerate(zip(*features, strict=True)):
        total += float((heads[f"lin{number}.model.1.weight"] * (x - y) ** 2).sum(1).mean())
    return total


def test_lpips_is_zhangs_on_images_in_minus_1_to_1(
    alexnet: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchmetrics", reason="needs the extra metrics")
    monkeypatch.setenv("MCLTOOL_HOME", str(alexnet.folder))
    found = [Pair(str(n), image(n, (64, 64)), image(n + 9, (64, 64))) for n in range(2)]
    with torch.no_grad():
        expected = [plain_lpips(alexnet, p.output, p.real) for p in found if p.real is not None]
        distance = lpips_distance(CPU)
    assert values(distance_to_truth("lpips", distance), found, "lpips") == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-4
    same = [Pair("same", image(0, (64, 64)), image(0, (64, 64)))]
    assert values(distance_to_truth("lpips", distance), same, "lpips") == [0.0]


def test_missing_networks_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="missing; get it with 'mcltool weights get vgg19'"):
        vgg_network("vgg", CPU)
    pytest.importorskip("torchmetrics", reason="needs the extra metrics")
    with pytest.raises(UsageError, match="a copy of alexnet-owt-7be5be79"):
        lpips_distance(CPU)
    NETWORKS["vgg19"].path.parent.mkdir()
    NETWORKS["vgg19"].path.write_bytes(b"cut off")
    with pytest.raises(UsageError, match="download it again"):
        vgg_network("vgg", CPU)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0) / (a.square().sum(0).sqrt() * b.square().sum(0).sqrt())


def unit(picture: Tensor) -> Tensor:
    return (picture.float() / 127.5 - 1)[None]


def test_style_compares_mean_features_of_the_low_layers_with_the_exemplar() -> None:
    network, found = random_vgg(), pairs()
    for layer, key in (("relu1_2", "style_colour"), ("relu2_2", "style_texture")):
        expected = []
        for pair in found:
            pooled = [network(unit(p), [layer])[0][0].mean((1, 2)) for p in (pair.output, *pair.exemplars)]
            expected.append(float(cosine(*pooled)))
        assert values(style_scores(network, CPU), found, key) == pytest.approx(expected, abs=1e-5)


def test_style_of_several_exemplars_is_each_places_weighted_reference() -> None:
    """Literally and in float64, place by place: 8 x 6 places of 4 x 4 pixels; three exemplars, one of weight 0."""
    network, output, draw = random_vgg().double(), image(0), np.random.default_rng(1)
    exemplars = (image(1, (24, 40)), image(2), image(3))
    weights = draw.random((3, 8, 6)).astype(np.float32)
    weights[0, :, :3], weights[1, :, 4:], weights[2] = 0, 0, 0
    for layer, side, key in (("relu1_2", 4, "style_colour"), ("relu2_2", 2, "style_texture")):
        features = network(unit(output).double(), [layer])[0][0].numpy()
        means = [network(unit(e).double(), [layer])[0][0].mean((1, 2)).numpy() for e in exemplars]
        ours, reference = np.zeros((3, len(features))), np.zeros((3, len(features)))
        total = np.zeros(3)
        for y in range(8):
            for x in range(6):
                cell = features[:, side * y : side * (y + 1), side * x : side * (x + 1)].mean((1, 2))
                shares = weights[:, y, x].astype(float) / weights[:, y, x].astype(float).sum()
                wanted = sum(share * mean for share, mean in zip(shares, means, strict=True))
                for e in range(3):
                    ours[e] += shares[e] * cell
                    reference[e] += shares[e] * wanted
                    total[e] += shares[e]
        cosines = [float(cosine(torch.from_numpy(ours[e]), torch.from_numpy(reference[e]))) for e in (0, 1)]
        expected = (cosines[0] * total[0] + cosines[1] * total[1]) / 48
        found = Pair("p", output, exemplars=exemplars, weights=weights)
        assert values(style_scores(network.float(), CPU), [found], key) == pytest.approx([expected], abs=1e-5)
        network.double()


def test_a_region_is_compared_with_its_own_exemplar_and_shared_places_with_the_mixture() -> None:
    network, (a, b) = random_vgg(), (image(1), 255 - image(2))
    halves = np.zeros((2, 8, 6), np.float32)
    halves[0, :, :3] = halves[1, :, 3:] = 1
    even = np.ones((2, 8, 6), np.float32)
    beside = torch.cat([a[:, :, :12], b[:, :, 12:]], 2)
    pairs = [
        Pair("right", beside, exemplars=(a, b), weights=halves),
        Pair("swapped", beside, exemplars=(b, a), weights=halves),
        Pair("even", beside, exemplars=(a, b), weights=even),
        Pair("one", a, exemplars=(a, b), weights=np.stack([even[0], 0 * even[0]])),
    ]
    right, swapped, mixed, one = values(style_scores(network, CPU), pairs, "style_colour")
    assert right > swapped + 0.01
    assert mixed > swapped + 0.01
    assert one == pytest.approx(1, abs=1e-5)


def test_semantic_compares_the_high_layers_place_by_place_with_the_truth() -> None:
    network, found = random_vgg(), pairs()
    metric = semantic_scores(network, CPU)
    layers = {}
    for layer in ("relu3_2", "relu4_2", "relu5_2"):
        layers[layer] = []
        for pair in found:
            assert pair.real is not None
            ours, theirs = (network(unit(p), [layer])[0][0] for p in (pair.output, pair.real))
            layers[layer].append(float(cosine(ours, theirs).mean()))
        assert values(metric, found, f"semantic_{layer}") == pytest.approx(layers[layer], abs=1e-5)
    assert values(metric, found, "semantic") == pytest.approx(np.mean(list(layers.values()), 0), abs=1e-5)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: semantic_scores(random_vgg(), CPU), "semantic"),
        (lambda: style_scores(random_vgg(), CPU), "style_colour"),
        (lambda: psnr_scores, "psnr"),
        (lambda: ssim_scores(), "ssim"),
    ],
)
def test_scores_fall_as_noise_grows(make: Callable[[], PairScores], key: str) -> None:
    if key == "ssim":
        pytest.importorskip("torchmetrics", reason="needs the extra metrics")
    truth = image(0)
    best = {"psnr": float("inf")}.get(key, 1.0)
    ladder = [Pair(str(d), noisy(truth, d), truth, (truth,)) for d in (0, 5, 20, 80)]
    found = values(make(), ladder, key)
    assert found[0] == pytest.approx(best, abs=1e-5)
    assert found == sorted(found, reverse=True)
    assert found[3] < found[2]


def test_a_black_picture_is_like_itself() -> None:
    """Also where a layer is 0 everywhere."""
    black = torch.zeros(3, 32, 32, dtype=torch.uint8)
    network = random_vgg()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert values(semantic_scores(network, CPU), [Pair("black", black, black)], "semantic") == [1.0]


def test_diversity_is_the_mean_over_all_pairs_of_outputs() -> None:
    found = pairs()

    def l1(a: Tensor, b: Tensor) -> float:
        return float(np.abs(a.numpy().astype(float) - b.numpy()).mean() / 255)

    expected = [
        np.mean([l1(p.output, p.others[0]), l1(p.output, p.others[1]), l1(p.others[0], p.others[1])])
        for p in found
    ]
    assert values(diversity_scores("d", l1_distance), found, "d") == pytest.approx(expected, rel=1e-5)
    same = [Pair("same", image(0), others=(image(0),))]
    assert values(diversity_scores("d", l1_distance), same, "d") == [0.0]
