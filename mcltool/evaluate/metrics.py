"""The metrics of ``mcltool evaluate``: one entry each, which help, tables, reports and documentation read.

A new metric is an entry in METRICS and the function that it names. Imports neither torch nor NumPy when loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mcltool.evaluate.paired import PairScores
    from mcltool.evaluate.resources import Resources

FEWEST_FOR_FID = 2048
"""Inception's features; of fewer images their covariance is not of full rank."""


@dataclass(frozen=True)
class Number:
    """A number that a metric reports. better: which direction. what: it is, in words."""

    title: str
    better: Literal["higher", "lower"]
    what: str


@dataclass(frozen=True)
class Score:
    """value: None where it is infinite. low, high: the 95% interval, where there is one. count: of what it is made."""

    value: float | None
    count: int
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """An entry of METRICS.

    name: for --metrics. needs: besides OUT. numbers: what it reports, by key.
    each: makes the functions that score pairs of one batch, for metrics of single images.
    sets: the numbers of all images together, for metrics of sets.
    """

    name: str
    needs: Literal["real", "exemplars", "others"]
    numbers: Mapping[str, Number]
    each: Callable[[Resources], Sequence[PairScores]] | None = None
    sets: Callable[[Resources], dict[str, Score]] | None = None


NEEDS = {
    "real": "--real",
    "exemplars": "--exemplars",
    "others": "--other: outputs of the same conditions in other styles",
}


def _fid(use: Resources) -> dict[str, Score]:
    from mcltool.evaluate import fid

    ours, theirs = use.inception_features
    if min(ours.count, theirs.count) < FEWEST_FOR_FID:
        use.warn(
            f"FID of {ours.count} outputs and {theirs.count} photos: with fewer than {FEWEST_FOR_FID} it is far too "
            "high, and compares only with FIDs of as many images"
        )
    return {"fid": Score(fid.frechet_distance(ours, theirs), ours.count)}


def _kid(use: Resources) -> dict[str, Score]:
    from mcltool.evaluate import fid

    ours, theirs = use.inception_features
    mean, deviation, subset = fid.kernel_distance(ours, theirs, use.request.seed)
    return {"kid": Score(mean, ours.count, note=f"subsets of {subset} images, deviation {deviation:.2g}")}


def _swd(use: Resources) -> dict[str, Score]:
    return use.sliced_wasserstein()


def _lpips(use: Resources) -> Sequence[PairScores]:
    from mcltool.evaluate.paired import distance_to_truth

    return [distance_to_truth("lpips", use.lpips)]


def _psnr(use: Resources) -> Sequence[PairScores]:
    from mcltool.evaluate.paired import psnr_scores

    return [psnr_scores]


def _ssim(use: Resources) -> Sequence[PairScores]:
    from mcltool.evaluate.paired import ssim_scores

    return [ssim_scores()]


def _semantic(use: Resources) -> Sequence[PairScores]:
    from mcltool.evaluate.paired import semantic_scores

    return [semantic_scores(use.vgg, use.device)]


def _style(use: Resources) -> Sequence[PairScores]:
    from mcltool.evaluate.paired import style_scores

    return [style_scores(use.vgg, use.device)]


def _diversity(use: Resources) -> Sequence[PairScores]:
    """By L1, which needs nothing, and by LPIPS where it can be run."""
    from mcltool.evaluate.paired import diversity_scores, l1_distance

    found = [diversity_scores("diversity_l1", l1_distance)]
    with use.explaining("diversity_lpips"):
        found.append(diversity_scores("diversity_lpips", use.lpips))
    return found


_ENTRIES = (
    Metric(
        "fid",
        "real",
        {"fid": Number("FID", "lower", "Fréchet distance of Inception features, of OUT and the real photos")},
        sets=_fid,
    ),
    Metric(
        "kid",
        "real",
        {"kid": Number("KID", "lower", "squared maximum mean discrepancy of the same features")},
        sets=_kid,
    ),
    Metric(
        "swd",
        "real",
        {
            "swd": Number(
                "SWD x 1000", "lower", "sliced Wasserstein distance of patches, mean of the pyramid's levels"
            )
        },
        sets=_swd,
    ),
    Metric(
        "lpips",
        "real",
        {"lpips": Number("LPIPS to the truth", "lower", "learned perceptual distance (AlexNet)")},
        each=_lpips,
    ),
    Metric(
        "psnr",
        "real",
        {"psnr": Number("PSNR (dB)", "higher", "peak signal-to-noise ratio to the truth")},
        each=_psnr,
    ),
    Metric(
        "ssim", "real", {"ssim": Number("SSIM", "higher", "structural similarity to the truth")}, each=_ssim
    ),
    Metric(
        "style",
        "exemplars",
        {
            "style_colour": Number("style: colour", "higher", "cosine to the exemplar, VGG relu1_2"),
            "style_texture": Number("style: texture", "higher", "cosine to the exemplar, VGG relu2_2"),
        },
        each=_style,
    ),
    Metric(
        "semantic",
        "real",
        {
            "semantic": Number(
                "semantic consistency", "higher", "cosine to the truth, mean of VGG relu3_2, 4_2, 5_2"
            ),
            "semantic_relu3_2": Number("semantic, relu3_2", "higher", "cosine to the truth, VGG relu3_2"),
            "semantic_relu4_2": Number("semantic, relu4_2", "higher", "cosine to the truth, VGG relu4_2"),
            "semantic_relu5_2": Number("semantic, relu5_2", "higher", "cosine to the truth, VGG relu5_2"),
        },
        each=_semantic,
    ),
    Metric(
        "diversity",
        "others",
        {
            "diversity_lpips": Number(
                "diversity (LPIPS)", "higher", "LPIPS between outputs of one condition"
            ),
            "diversity_l1": Number(
                "diversity (L1)", "higher", "mean absolute difference of them, colours in [0, 1]"
            ),
        },
        each=_diversity,
    ),
)
METRICS = {metric.name: metric for metric in _ENTRIES}

KNOWN_TRUTH = {
    "class_match": Number("class match", "higher", "share of cells matched to a cell of their class"),
    "background_class_match": Number("class match, background", "higher", "the same of background cells"),
    "match_error": Number("match error", "lower", "distance of a match from its true place, in shape radii"),
}
"""Reported where the data set knows the true correspondence (``evaluate --weights`` on ``shapes``)."""

NUMBERS = {key: number for metric in _ENTRIES for key, number in metric.numbers.items()} | KNOWN_TRUTH
"""Every number that an evaluation can report, in the order of tables."""


def number_of(key: str) -> Number:
    """The number of a key, the levels of SWD (swd_64) among them. Raises KeyError for what no metric reports."""
    level = key.removeprefix("swd_")
    if level != key and level.isdecimal():
        return Number(f"SWD x 1000, {level} px", "lower", f"the level whose short side is {level} pixels")
    return NUMBERS[key]
