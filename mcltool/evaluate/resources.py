"""What the metrics of one evaluation share: its files, and networks and features that are loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from mcltool.core.device import pick_device
from mcltool.core.errors import UsageError
from mcltool.core.pretrained import is_official
from mcltool.evaluate import fid, paired, swd
from mcltool.evaluate.folders import read_image
from mcltool.evaluate.inputs import Inputs, Request
from mcltool.evaluate.metrics import Score
from mcltool.model.vgg import VGGFeatures

EXTRA = "pip install 'mcltool[metrics]'"

Tell = Callable[[str, int, int], None]
"""Progress: what is done, how many, of how many."""


class Resources:
    """Networks and features are made when a metric first asks for them, and kept.

    warnings, not_run (reasons by the metric's name): filled on the way.
    """

    def __init__(self, request: Request, inputs: Inputs, tell: Tell) -> None:
        self.request, self.inputs, self.tell = request, inputs, tell
        self.device = pick_device(request.device)
        self.warnings: list[str] = []
        self.not_run: dict[str, str] = {}

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)

    @contextmanager
    def explaining(self, name: str) -> Iterator[None]:
        """Around what may lack a package or weights: the reason is kept, and the metric ``name`` left out."""
        try:
            yield
        except (UsageError, ModuleNotFoundError) as error:
            self.not_run[name] = _reason(error)

    @cached_property
    def inception_features(self) -> tuple[fid.FeatureStatistics, fid.FeatureStatistics]:
        """Inception's, of outputs and photos."""
        outputs, reals = self._paths()
        if min(len(outputs), len(reals)) < 2:
            raise UsageError("needs at least 2 images in each folder")
        extractor, form = fid.inception(self.device), self.request.form
        self._check_official("inception")
        ours = fid.statistics(outputs, extractor, form, self._step("outputs", len(outputs)))
        theirs = fid.cached_statistics(reals, extractor, form, self._step("photos", len(reals)))
        return ours, theirs

    @cached_property
    def lpips(self) -> paired.Distance:
        distance = paired.lpips_distance(self.device)
        self._check_official("alexnet")
        return distance

    @cached_property
    def vgg(self) -> VGGFeatures:
        network = paired.vgg_network(self.request.perceptual, self.device)
        if self.request.perceptual == "random":
            self.warn("style and semantic use random filters: no published number compares")
        else:
            self._check_official("vgg19")
        return network

    def sliced_wasserstein(self) -> dict[str, Score]:
        """SWD of outputs and photos: of each level, and their mean. Raises UsageError for images of several sizes."""
        form, seed = self.request.form, self.request.seed
        lists = self._paths()
        chosen = swd.chosen_images((len(lists[0]), len(lists[1])), seed)
        sets: list[swd.PyramidPatches] = []
        try:
            for what, paths, numbers in zip(("outputs", "photos"), lists, chosen, strict=True):
                for done, number in enumerate(numbers):
                    image = read_image(paths[number], form)
                    if not done:
                        sets.append(swd.PyramidPatches(image.shape[:2], seed))
                    if image.shape[:2] != sets[0].size:
                        (height, width), (wanted_height, wanted_width) = image.shape[:2], sets[0].size
                        raise UsageError(
                            f"needs images of one size: {paths[number]} is {width} x {height} pixels, others "
                            f"{wanted_width} x {wanted_height}; --size HxW compares all at one"
                        )
                    sets[-1].add(image)
                    self.tell(f"patches of {what}", done + 1, len(numbers))
            levels = swd.pyramid_distances(*sets)
        finally:
            for patches in sets:
                patches.close()
        count = len(chosen[0])
        scores = {"swd": Score(sum(levels.values()) / len(levels), count)}
        return scores | {f"swd_{side}": Score(value, count) for side, value in levels.items()}

    def _paths(self) -> tuple[list[Path], list[Path]]:
        """Of outputs and photos."""
        return list(self.inputs.outputs.values()), list(self.inputs.reals.values())

    def _step(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def step(more: int) -> None:
            nonlocal done
            done += more
            self.tell(f"Inception features of {what}", done, total)

        return step

    def _check_official(self, name: str) -> None:
        if not is_official(name):
            self.warn(
                f"the weights of {name} were not made from the official file: no published number compares"
            )


def _reason(error: Exception) -> str:
    """In words, why a metric cannot be run."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in ("torchmetrics", "torch_fidelity"):
            raise error
        return f"needs the package {package}: {EXTRA}"
    return str(error)
