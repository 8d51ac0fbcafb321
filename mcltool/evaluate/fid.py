"""FID and KID: torch-fidelity's Inception, distances and preprocessing over streamed statistics.

torch-fidelity's own entry point keeps all features of both sets in memory. Here a set is its mean and covariance,
updated batch by batch, and for KID a sample of bounded size; the reference's are kept on disk by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.files import replacing
from mcltool.core.index import home
from mcltool.core.pretrained import NETWORKS, load_tensors
from mcltool.evaluate.folders import Form, batches

Doubles = NDArray[np.float64]

KID_SAMPLE = 10_000
"""Features of a set that KID looks at, at most."""
KID_SUBSET, KID_SUBSETS = 1000, 100
"""Size and number of the random subsets that KID is the mean of (Binkowski et al., arXiv 1801.01401)."""


@dataclass(frozen=True)
class Extractor:
    """What images are looked at with. run: (B, 3, H, W) uint8 -> (B, D) float32. digest: its weights' identity."""

    run: Callable[[Tensor], Tensor]
    digest: str


def inception(device: torch.device) -> Extractor:
    """The Inception of the FID literature, with the original resize to 299 px (TensorFlow's, not antialiased).

    Raises UsageError where its weights are missing or do not fit, ImportError without torch-fidelity.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from mcltool.core.errors import UsageError
    from mcltool.core.files import digest

    weights = BytesIO()  # the class reads a .pth: it gets one made here of tensors, never a stored pickle
    torch.save(load_tensors("inception"), weights)
    weights.seek(0)
    path = NETWORKS["inception"].path
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048"], weights)
    except RuntimeError as error:
        raise UsageError(
            f"{path}: not torch-fidelity's Inception weights ({str(error).splitlines()[0]})"
        ) from None

    network = network.to(device, memory_format=torch.channels_last)  # a quarter faster on a CPU

    def run(images: Tensor) -> Tensor:
        features: Tensor = network(images.to(device))[0]
        return features.cpu()

    return Extractor(run, digest(path))


class FeatureStatistics:
    """Mean, covariance and a random sample of the features (N, D) of a set, which come in batches."""

    def __init__(self, seed: int = 0) -> None:
        self.count = 0
        self.mean: Doubles = np.zeros(0)
        self._scatter: Doubles = np.zeros((0, 0))
        self.sample: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._generator = np.random.default_rng(seed)

    @property
    def covariance(self) -> Doubles:
        """(D, D), of a sample: divided by N - 1."""
        return self._scatter / (self.count - 1)

    def add(self, features_BD: NDArray[np.float32]) -> None:
        values = features_BD.astype(np.float64)
        number, size = values.shape
        if not self.count:
            self.mean, self._scatter = np.zeros(size), np.zeros((size, size))
            self.sample = np.zeros((0, size), np.float32)
        mean = values.mean(0)
        centred, shift = values - mean, mean - self.mean
        weight = self.count * number / (self.count + number)  # Chan et al.: how two sets' moments are joined
        self._scatter += centred.T @ centred + weight * np.outer(shift, shift)
        self.mean = self.mean + shift * number / (self.count + number)
        self._keep(features_BD)
        self.count += number

    def _keep(self, features_BD: NDArray[np.float32]) -> None:
        """Reservoir sampling: each feature so far is in the sample with the same probability."""
        room = min(KID_SAMPLE - len(self.sample), len(features_BD))
        self.sample = np.concatenate([self.sample, features_BD[:room]]) if room > 0 else self.sample
        for index in range(max(room, 0), len(features_BD)):
            place = int(self._generator.integers(self.count + index + 1))
            if place < KID_SAMPLE:
                self.sample[place] = features_BD[index]

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        arrays: dict[str, NDArray[Any]] = {"mean": self.mean, "scatter": self._scatter, "sample": self.sample}
        with replacing(path) as temporary:
            save_file(arrays | {"count": np.array(self.count)}, temporary)

    @classmethod
    def load(cls, path: Path) -> FeatureStatistics | None:
        """What ``save`` wrote; None where it is not there or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            found = cls()
            found.count, found.mean = int(arrays["count"]), arrays["mean"]
            found._scatter, found.sample = arrays["scatter"], arrays["sample"]
        except (OSError, SafetensorError, KeyError):
            return None
        return found


def statistics(
    paths: Sequence[Path],
    extractor: Extractor,
    form: Form,
    step: Callable[[int], None] = lambda _: None,
) -> FeatureStatistics:
    """Of the images at ``paths`` in ``form``. step: told how many more are done."""
    found = FeatureStatistics()
    with torch.inference_mode():
        for images in batches(paths, form):
            found.add(extractor.run(images).numpy())
            step(len(images))
    return found


def cached_statistics(
    paths: Sequence[Path],
    extractor: Extractor,
    form: Form,
    step: Callable[[int], None] = lambda _: None,
) -> FeatureStatistics:
    """As ``statistics``, kept in $MCLTOOL_HOME/cache by the files' contents, the form and the network."""
    key = hashlib.sha256(f"1 {form} {extractor.digest}".encode())
    for path in paths:
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    kept = home() / "cache" / f"features-{key.hexdigest()[:32]}.safetensors"
    found = FeatureStatistics.load(kept)
    if found is not None:
        step(len(paths))
        return found
    found = statistics(paths, extractor, form, step)
    with suppress(OSError):  # a cache that cannot be written is no reason to fail
        found.save(kept)
    return found


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 sqrt(A B)), A and B the covariances (Heusel et al., arXiv 1706.08500)."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    moments = [{"mu": s.mean, "sigma": s.covariance} for s in (a, b)]
    found: dict[str, float] = fid_statistics_to_metric(*moments, verbose=False)
    return max(0.0, found[KEY_METRIC_FID])  # rounding takes equal sets some 1e-4 below 0


def kernel_distance(a: FeatureStatistics, b: FeatureStatistics, seed: int = 0) -> tuple[float, float, int]:
    """KID: mean and deviation over random subsets, and their size (smaller than 1000 where a set is)."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(KID_SUBSET, len(a.sample), len(b.sample))
    subsets = 1 if len(a.sample) == len(b.sample) == size else KID_SUBSETS  # they would all be the same
    settings: dict[str, Any] = {"kid_subset_size": size, "kid_subsets": subsets, "rng_seed": seed}
    found = kid_features_to_metric(
        torch.from_numpy(a.sample), torch.from_numpy(b.sample), verbose=False, **settings
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD], size
