"""FID and KID: against torch-fidelity itself, closed forms, and from the command line with made-up weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from mcltool.cli.main import cli
from mcltool.evaluate import fid as fidelity
from mcltool.evaluate.fid import (
    Extractor,
    FeatureStatistics,
    cached_statistics,
    frechet_distance,
    kernel_distance,
    statistics,
)
from mcltool.evaluate.folders import Form

torch_fidelity = pytest.importorskip("torch_fidelity", reason="needs the extra metrics: torch-fidelity")

from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # noqa: E402
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: E402

Floats = NDArray[np.float32]


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, args)])


def make_images(folder: Path, count: int, seed: int, size: tuple[int, int] = (32, 32)) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        colour = rng.uniform(30 * seed, 200, 3)
        picture = rng.normal(colour, 30, (*size, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    return folder


class Small(FeatureExtractorBase):  # type: ignore[misc]
    """A fixed small network, in torch-fidelity's terms."""

    def __init__(self, name: str, features: list[str], **_: object) -> None:
        super().__init__(name, features)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Conv2d(3, 12, 5, stride=3)
        self.eval()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("12",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "12"

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        with torch.no_grad():
            return (self.layer(images.float() / 128 - 1).relu().mean((2, 3)),)


def small() -> Extractor:
    network = Small("small", ["12"])
    return Extractor(lambda images: network(images)[0], "small")


def of(features: Floats, batch: int = 7) -> FeatureStatistics:
    found = FeatureStatistics()
    for start in range(0, len(features), batch):
        found.add(features[start : start + batch])
    return found


def test_fid_and_kid_are_torch_fidelitys_on_generated_images(tmp_path: Path) -> None:
    a, b = make_images(tmp_path / "a", 50, 0), make_images(tmp_path / "b", 60, 1)
    ours = [statistics(sorted(folder.iterdir()), small(), Form()) for folder in (a, b)]
    torch_fidelity.register_feature_extractor("small", Small)
    theirs = torch_fidelity.calculate_metrics(
        input1=str(a), input2=str(b), fid=True, kid=True, kid_subset_size=40, feature_extractor="small",
        cuda=False, verbose=False, cache=False, rng_seed=0, save_cpu_ram=True,
    )  # fmt: skip
    assert frechet_distance(*ours) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert theirs["frechet_inception_distance"] > 0.01
    mean, deviation, subset = kernel_distance(*ours)
    assert subset == 50
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], abs=4 * deviation)


def test_kid_is_torch_fidelitys_of_the_same_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(mean, 1, (90, 12)).astype(np.float32) for mean in (0, 0.5))
    monkeypatch.setattr(fidelity, "KID_SUBSET", 40)
    theirs = torch_fidelity.metric_kid.kid_features_to_metric(
        torch.from_numpy(a),
        torch.from_numpy(b),
        kid_subset_size=40,
        kid_subsets=100,
        rng_seed=5,
        verbose=False,
    )
    mean, deviation, _ = kernel_distance(of(a), of(b), seed=5)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"])
    assert deviation == pytest.approx(theirs["kernel_inception_distance_std"])
    assert mean > 0


def test_streamed_moments_are_numpys() -> None:
    features = (1000 + np.random.default_rng(0).normal(size=(203, 9))).astype(np.float32)
    for batch in (1, 16, 300):
        found = of(features, batch)
        np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            found.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-8
        )
        np.testing.assert_array_equal(found.sample, features)


def test_fid_of_gaussians_has_a_closed_form() -> None:
    """|m|^2 for a shift by m; for a diagonal covariance scaled by k^2: the sum of variances times (k - 1)^2."""
    points = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32) * np.arange(
        1, 7, dtype=np.float32
    )
    base = of(points)
    assert frechet_distance(base, of(points)) == pytest.approx(0, abs=1e-6)
    shift = np.array([3, 0, -4, 0, 0, 0], np.float32)
    assert frechet_distance(base, of(points + shift)) == pytest.approx(25, rel=1e-4)
    centred = points - points.mean(0)
    variances = np.trace(of(centred).covariance)
    assert frechet_distance(of(centred), of(3 * centred)) == pytest.approx(4 * variances, rel=1e-4)


def test_kids_sample_is_bounded_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every feature has the same chance: over many sets, the kept numbers have the mean of all."""
    monkeypatch.setattr(fidelity, "KID_SAMPLE", 20)
    means = []
    for seed in range(200):
        found = FeatureStatistics(seed)
        for start in range(0, 100, 8):
            found.add(np.arange(start, min(start + 8, 100), dtype=np.float32)[:, None])
        assert found.sample.shape == (20, 1)
        assert len(np.unique(found.sample)) == 20
        means.append(found.sample.mean())
    assert np.mean(means) == pytest.approx(49.5, abs=1.5)  # 3 standard errors


def test_a_references_statistics_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    folder = make_images(tmp_path / "a", 5, 0)
    calls: list[int] = []
    inner = small()

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return inner.run(images)

    def of_folder(digest: str = "x", size: tuple[int, int] | None = None) -> FeatureStatistics:
        return cached_statistics(sorted(folder.iterdir()), Extractor(counted, digest), Form(size))

    first = of_folder()
    folder.rename(tmp_path / "b")
    folder = tmp_path / "b"  # the same pictures elsewhere
    again = of_folder()
    assert calls == [5]
    assert again.count == 5
    np.testing.assert_array_equal(again.covariance, first.covariance)
    np.testing.assert_array_equal(again.sample, first.sample)
    of_folder(digest="another network")
    of_folder(size=(16, 16))
    Image.new("RGB", (32, 32)).save(folder / "000.png")
    of_folder()
    assert calls == [5] * 4
    kept = sorted((tmp_path / "home" / "cache").iterdir())
    assert len(kept) == 4
    for path in kept:
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(of_folder("another network").sample.shape, (5, 12))


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the published file's format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(torch, "load", lambda *_, **__: None)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("inception", ["2048"], "nowhere")
    path = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), path)
    return path


def _fid_of_few(weights: Path, *folders: Path) -> float:
    """With torch-fidelity's network, and the trace of sqrt(A B) as the sum of singular values of X Y^T."""
    network = FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
    sets = []
    for folder in folders:
        pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
        sets.append(network(torch.from_numpy(pictures).permute(0, 3, 1, 2))[0].double().numpy())
    means = [features.mean(0) for features in sets]
    x, y = ((f - m) / np.sqrt(len(f) - 1) for f, m in zip(sets, means, strict=True))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root)


@pytest.mark.slow
def test_fid_and_kid_from_the_command_line(
    inception_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The converted file is torch-fidelity's network, its values included; few images are warned of."""
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    a, b = make_images(tmp_path / "a", 4, 0), make_images(tmp_path / "b", 5, 3)
    asked = ("--real", b, "--metrics", "fid,kid", "--device", "cpu")
    missing = run(a, *asked)
    assert missing.exit_code == 2
    assert "fid: " in missing.output
    assert "'mcltool weights get inception'" in missing.output

    converted = CliRunner().invoke(cli, ["weights", "convert", str(inception_file)])
    assert converted.exit_code == 0, converted.output
    result = run(a, *asked)
    assert result.exit_code == 0, result.output
    assert "FID of 4 outputs and 5 photos: with fewer than 2048" in result.output
    assert "the weights of inception were not made from the official file" in result.output
    found = json.loads((tmp_path / "a-scores" / "scores.json").read_text())["scores"]
    assert found["fid"]["value"] == pytest.approx(_fid_of_few(inception_file, a, b), rel=1e-3, abs=1e-6)
    assert found["fid"]["count"] == 4
    assert "subsets of 4" in found["kid"]["note"]


def test_one_image_is_too_few(inception_file: Path, tmp_path: Path) -> None:
    a = make_images(tmp_path / "a", 1, 0)
    result = run(a, "--real", a, "--metrics", "fid")
    assert result.exit_code == 2
    assert "fid: needs at least 2 images in each folder" in result.output
