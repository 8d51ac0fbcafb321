"""``mcltool evaluate``: finding out which metrics can be run, and running them in a few passes over the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mcltool
from mcltool.core.device import pick_device
from mcltool.core.errors import UsageError
from mcltool.core.pretrained import is_official
from mcltool.evaluate import fid as fidelity
from mcltool.evaluate import paired, swd
from mcltool.evaluate.folders import read_image
from mcltool.evaluate.inputs import METRICS, Inputs, Request, pair_batches
from mcltool.evaluate.scores import ImageScores, Score, Scores, in_order, summarise
from mcltool.model.vgg import VGGFeatures

FEATURES = 2048
"""Inception's; of fewer images their covariance is not of full rank."""
EXTRA = "pip install 'mcltool[metrics]'"

Tell = Callable[[str, int, int], None]
"""Progress: what is done, how many, of how many."""


def evaluate(
    request: Request, inputs: Inputs, extra: ImageScores | None = None, tell: Tell = lambda *_: None
) -> Scores:
    """Run the request's metrics on its files. extra: scores of the images from elsewhere, reported with the others.

    Raises UsageError for a metric that was asked for and cannot run, and where none can; DataError for an image
    that cannot be read or is not of its counterpart's size.
    """
    run = _Run(request, inputs, tell)
    metrics = run.pair_metrics()
    result = run.result
    images = {name: dict((extra or {}).get(name, {})) for name in inputs.names}
    done = 0
    for batch in pair_batches(inputs, request.form) if metrics else ():
        for name, row in paired.score_pairs(metrics, batch).items():
            images[name] |= row
        done += len(batch)
        tell("scoring images", done, len(inputs.names))
    run.set_metrics()
    result.images = {name: row for name, row in images.items() if row}
    result.scores = in_order(result.scores | summarise(result.images, request.seed))
    if request.perceptual == "random":
        for key, score in result.scores.items():
            if key.startswith(("style_", "semantic")):
                result.scores[key] = replace(score, note="random filters, not VGG")
    if not result.scores:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in result.not_run.items())
        raise UsageError(f"no metric can be run: {reasons}")
    return result


class _Run:
    """The metrics of one request. result: filled as they are run."""

    def __init__(self, request: Request, inputs: Inputs, tell: Tell) -> None:
        self.request, self.inputs, self.tell = request, inputs, tell
        self.device = pick_device(request.device)
        self.result = Scores(_about(request, inputs))

    def pair_metrics(self) -> list[paired.Metric]:
        """Those of one output at a time that can be run, in the order of METRICS."""
        found: list[paired.Metric] = []
        inputs, device = self.inputs, self.device
        real, others = "--real", "--other: outputs of the same conditions in other styles"
        makers: dict[str, tuple[str, object, Callable[[], list[paired.Metric]]]] = {
            "lpips": (real, inputs.reals, lambda: [paired.distance_to_truth("lpips", self._lpips)]),
            "psnr": (real, inputs.reals, lambda: [paired.psnr_metric]),
            "ssim": (real, inputs.reals, lambda: [paired.ssim_metric()]),
            "semantic": (real, inputs.reals, lambda: [paired.semantic_metric(self._vgg, device)]),
            "style": ("--exemplars", inputs.exemplars, lambda: [paired.style_metric(self._vgg, device)]),
            "diversity": (others, inputs.others, self._diversity),
        }
        for name, (needs, given, make) in makers.items():
            self._try(name, needs, given, lambda make=make: found.extend(make()))  # type: ignore[misc]
        return found

    def set_metrics(self) -> None:
        """Run the metrics of sets."""
        for name, run in (("fid", self._fid), ("kid", self._kid), ("swd", self._swd)):
            self._try(name, "--real", self.inputs.reals, run)

    def _try(self, name: str, needs: str, given: object, run: Callable[[], None]) -> None:
        """Run a metric that is asked for; where it cannot be run, say so: an error if it was asked for by name."""
        if name not in self.request.asked:
            return
        try:
            if not given:
                raise UsageError(f"needs {needs}")
            run()
        except (UsageError, ModuleNotFoundError) as error:
            if self.request.metrics:
                raise UsageError(f"{name}: {_reason(error)}") from None
            self.result.not_run[name] = _reason(error)

    def _diversity(self) -> list[paired.Metric]:
        """By L1, which needs nothing, and by LPIPS where it can be."""
        found = [paired.diversity_metric("diversity_l1", paired.l1_distance)]
        try:
            found.append(paired.diversity_metric("diversity_lpips", self._lpips))
        except (UsageError, ModuleNotFoundError) as error:
            self.result.not_run["diversity_lpips"] = _reason(error)
        return found

    def _swd(self) -> None:
        scores = swd_scores(_paths(self.inputs.outputs), _paths(self.inputs.reals), self.request, self.tell)
        self.result.scores |= scores

    def _fid(self) -> None:
        ours, theirs = self._features
        if min(ours.count, theirs.count) < FEATURES:
            self._warn(
                f"FID of {ours.count} outputs and {theirs.count} photos: with fewer than {FEATURES} it is far too "
                "high, and compares only with FIDs of as many images"
            )
        self.result.scores["fid"] = Score(fidelity.frechet_distance(ours, theirs), ours.count)

    def _kid(self) -> None:
        ours, theirs = self._features
        mean, deviation, subset = fidelity.kernel_distance(ours, theirs, self.request.seed)
        note = f"subsets of {subset} images, deviation {deviation:.2g}"
        self.result.scores["kid"] = Score(mean, ours.count, note=note)

    @cached_property
    def _features(self) -> tuple[fidelity.FeatureStatistics, fidelity.FeatureStatistics]:
        """Inception's, of outputs and photos."""
        outputs, reals = _paths(self.inputs.outputs), _paths(self.inputs.reals)
        if min(len(outputs), len(reals)) < 2:
            raise UsageError("needs at least 2 images in each folder")
        extractor, form = fidelity.inception(self.device), self.request.form
        self._check_official("inception")
        ours = fidelity.statistics(outputs, extractor, form, self._step("outputs", len(outputs)))
        theirs = fidelity.cached_statistics(reals, extractor, form, self._step("photos", len(reals)))
        return ours, theirs

    @cached_property
    def _lpips(self) -> paired.Distance:
        distance = paired.lpips_distance(self.device)
        self._check_official("alexnet")
        return distance

    @cached_property
    def _vgg(self) -> VGGFeatures:
        network = paired.vgg_network(self.request.perceptual, self.device)
        if self.request.perceptual == "random":
            self._warn("style and semantic look through random filters: no published number compares")
        else:
            self._check_official("vgg19")
        return network

    def _step(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def step(more: int) -> None:
            nonlocal done
            done += more
            self.tell(f"Inception features of {what}", done, total)

        return step

    def _check_official(self, name: str) -> None:
        if not is_official(name):
            self._warn(
                f"the weights of {name} were not made from the official file: no published number compares"
            )

    def _warn(self, warning: str) -> None:
        self.result.warnings.append(warning)


def swd_scores(
    outputs: Sequence[Path], reals: Sequence[Path], request: Request, tell: Tell = lambda *_: None
) -> dict[str, Score]:
    """SWD of two lists of images: of each level, and their mean. Raises UsageError for images of several sizes."""
    chosen = swd.chosen_images((len(outputs), len(reals)), request.seed)
    sets: list[swd.PyramidPatches] = []
    try:
        for what, paths, numbers in zip(("outputs", "photos"), (outputs, reals), chosen, strict=True):
            for done, number in enumerate(numbers):
                image = read_image(paths[number], request.form)
                if not done:
                    sets.append(swd.PyramidPatches(image.shape[:2], request.seed))
                if image.shape[:2] != sets[0].size:
                    raise UsageError(
                        f"needs images of one size: {paths[number]} is {image.shape[1]} x {image.shape[0]} pixels, "
                        f"others {sets[0].size[1]} x {sets[0].size[0]}; --size HxW compares all at one"
                    )
                sets[-1].add(image)
                tell(f"patches of {what}", done + 1, len(numbers))
        levels = swd.pyramid_distances(*sets)
    finally:
        for patches in sets:
            patches.close()
    count = len(chosen[0])
    scores = {"swd": Score(sum(levels.values()) / len(levels), count)}
    return scores | {f"swd_{side}": Score(value, count) for side, value in levels.items()}


def _reason(error: Exception) -> str:
    """In words, why a metric cannot be run."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in ("torchmetrics", "torch_fidelity"):
            raise error
        return f"needs the package {package}: {EXTRA}"
    return str(error)


def _paths(files: Any) -> list[Path]:
    return list(files.values())


def _about(request: Request, inputs: Inputs) -> dict[str, Any]:
    return {
        "mcltool": mcltool.__version__,
        "out": str(request.out),
        "real": str(request.real) if request.real else None,
        "exemplars": str(request.exemplars) if request.exemplars else None,
        "others": [str(folder) for folder in request.others],
        "images": len(inputs.names),
        "outputs": len(inputs.outputs),
        "real_images": len(inputs.reals),
        "metrics": [name for name in METRICS if name in request.asked],
        "size": list(request.form.size) if request.form.size else None,
        "jpeg": request.form.jpeg,
        "perceptual": request.perceptual,
        "seed": request.seed,
    }
