"""Conformance checks of what a plugin reads; and what all checks share: the plugin under test, and how to fail."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.pixels import same_aspect
from mcltool.data.batch import drawn_points
from mcltool.data.reading import device_input, planes_of
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin, Sample

PROBES = 3
"""Samples of each split that are read."""
SHORT_SIDES = (64, 160)
CANVASES = ((64, 64), (96, 64), (33, 50))
"""Sizes (height, width) at which conditions are rendered."""
SAME_DRAWING = 1e-3
"""How far apart two drawings of one pose may be, by rounding."""


@dataclass
class Subject:
    """The plugin under test. samples: by split, filled by the check of the index."""

    plugin: DatasetPlugin
    root: Path | None
    samples: dict[str, Sequence[Sample]] = field(default_factory=dict)

    def probes(self, *splits: str) -> list[Sample]:
        """A few samples of each split, or of the given ones: the first, the last and some between."""
        found = []
        for samples in (self.samples[split] for split in splits or self.samples):
            places = np.linspace(0, len(samples) - 1, min(PROBES, len(samples)))
            found += [samples[int(place)] for place in places]
        if not found:
            raise SkipError("there are no samples")
        return found


class SkipError(Exception):
    """The check cannot be made; the message says why."""


def require(holds: object, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def require_raises(kind: type[McltoolError], call: Callable[[], object], what: str) -> str:
    """The message of the error that ``call`` raises."""
    expected = "UsageError" if kind is UsageError else "DataError"
    try:
        call()
    except kind as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{what}: expected {expected}, found {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} raises nothing, expected {expected}")


def form(value: object) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)


def check_photos(subject: Subject) -> str:
    small, large = SHORT_SIDES
    for sample in subject.probes():
        photo, finer = (subject.plugin.photo(sample, side) for side in SHORT_SIDES)
        for array in (photo, finer):
            fits = isinstance(array, np.ndarray) and array.ndim == 3 and array.shape[2] == 3
            require(
                fits and array.dtype == np.uint8,
                f"{sample.id}: photo() gave {form(array)}, not (H, W, 3) uint8",
            )
            require(array.size, f"{sample.id}: photo() gave an empty picture")
        enough = min(photo.shape[:2]) >= min(small, *finer.shape[:2])
        require(enough, f"{sample.id}: photo() gave {form(photo)} for a short side of {small}")
        require(
            min(finer.shape[:2]) >= min(photo.shape[:2]), f"{sample.id}: photo() shrinks as more is asked for"
        )
    return f"short sides asked for: {small}, {large}"


def check_conditions(subject: Subject) -> str:
    for sample in subject.probes():
        condition = subject.plugin.condition(sample, SHORT_SIDES[0])
        _require_condition(subject.plugin.spec, sample.id, condition)
        height, width = subject.plugin.photo(sample, SHORT_SIDES[0]).shape[:2]
        sizes = f"the photo is {height} x {width}, the condition {condition.size[0]} x {condition.size[1]}"
        require(
            same_aspect((height, width), condition.size), f"{sample.id}: not one picture: {sizes} (H x W)"
        )
    return ""


def _require_condition(spec: ConditionSpec, name: str, condition: Condition) -> None:
    require(
        isinstance(condition, Condition),
        f"{name}: condition() gave {condition!r}, expected mcltool.Condition",
    )
    raster, points, size = condition.raster, condition.points, condition.size
    whole = len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    require(isinstance(size, tuple) and whole, f"{name}: size is {size!r}, expected (height, width)")
    require(raster is not None or points is not None, f"{name}: the condition has neither raster nor points")
    rows = 256
    if raster is not None:
        dtypes = (np.uint8, np.uint16, np.float32) if condition.smooth else (np.uint8,)
        fits = raster.dtype in dtypes and raster.ndim in (2, 3) and raster.shape[:2] == size
        words = "uint8" if len(dtypes) == 1 else "uint8, uint16 or float32"
        require(fits, f"{name}: the raster is {form(raster)}, expected {size} or {(*size, 'C')} {words}")
        rows = raster.shape[2] if raster.ndim == 3 else rows
        if spec.kind == "labels" and raster.ndim == 2 and not condition.smooth:
            require(raster.max() < spec.channels, f"{name}: label {raster.max()} is outside the classes")
    if points is not None:
        fits = points.dtype == np.float32 and points.ndim == 2 and points.shape[1] == 2
        require(fits, f"{name}: the points are {form(points)}, expected (K, 2) float32")
        rows = len(points)
    inside = all(len(pair) == 2 and min(pair) >= 0 and max(pair) < rows for pair in condition.mirror)
    require(inside, f"{name}: mirror is {condition.mirror!r}, expected pairs of numbers below {rows}")


def check_render(subject: Subject) -> str:
    """Shape, type and range at several sizes; conditions stay as they are; absent points are no error."""
    for sample in subject.probes():
        condition = subject.plugin.condition(sample, SHORT_SIDES[0])
        for size in CANVASES:
            moved = condition.resized(size)
            before = pickle.dumps((moved.raster, moved.points))
            _require_planes(subject.plugin, moved, sample.id)
            require(
                before == pickle.dumps((moved.raster, moved.points)),
                f"{sample.id}: render() changes its condition",
            )
            _require_same_drawing(subject.plugin, moved, sample.id)
            if moved.points is not None:
                absent = np.full_like(moved.points, np.nan)
                _require_planes(
                    subject.plugin, replace(moved, points=absent), f"{sample.id} without its points"
                )
                _require_planes(
                    subject.plugin, replace(moved, points=moved.points - 1000), f"{sample.id}, points outside"
                )
    return "at " + ", ".join(f"{height} x {width}" for height, width in CANVASES)


def _require_planes(plugin: DatasetPlugin, condition: Condition, name: str) -> None:
    planes = planes_of(plugin, condition)
    if plugin.spec.kind == "channels":
        fits = np.isfinite(planes).all() and planes.min() >= 0 and planes.max() <= 1
        require(fits, f"{name}: render() gave {planes.min():g} to {planes.max():g}, expected 0 to 1")


def _require_same_drawing(plugin: DatasetPlugin, condition: Condition, name: str) -> None:
    """What is drawn on the device, here beside a sample without points, is what ``render`` gives."""
    draw_points = plugin.draw_points
    if draw_points is None:
        return
    points = torch.from_numpy(device_input(plugin, condition).copy())
    drawn = drawn_points(draw_points, torch.stack([points, points * torch.nan]), condition.size)
    planes = planes_of(plugin, condition)
    require(drawn.dtype == torch.float32, f"{name}: draw_points() gave {drawn.dtype}, expected float32")
    require(
        drawn.shape == (2, *planes.shape), f"{name}: draw_points() gave {tuple(drawn.shape)} for 2 samples"
    )
    apart = float(np.abs(drawn[0].numpy() - planes).max())
    require(apart <= SAME_DRAWING, f"{name}: draw_points() and render() are {apart:.3g} apart")


def check_repeats(subject: Subject) -> str:
    for sample in subject.probes():
        _require_same_reading(subject.plugin, subject.plugin, sample, "reading twice gives different")
    return ""


def check_pickle(subject: Subject) -> str:
    data = pickle.dumps(subject.plugin)
    copy = pickle.loads(data)
    require(type(copy) is type(subject.plugin), "a pickled instance comes back as another type")
    for sample in subject.probes():
        require(
            pickle.loads(pickle.dumps(sample)) == sample, f"{sample.id}: the sample does not survive pickling"
        )
        _require_same_reading(subject.plugin, copy, sample, "a pickled copy of the plugin reads another")
    return f"{len(data)} bytes"


def _require_same_reading(one: DatasetPlugin, other: DatasetPlugin, sample: Sample, what: str) -> None:
    side = SHORT_SIDES[0]
    same = np.array_equal(one.photo(sample, side), other.photo(sample, side))
    require(same, f"{sample.id}: {what} photo")
    planes = [planes_of(plugin, plugin.condition(sample, side)).copy() for plugin in (one, other)]
    require(np.array_equal(planes[0], planes[1]), f"{sample.id}: {what} condition")


def check_folder(subject: Subject) -> str:
    """Conditions written as files are found by ``conditions`` and read as the same."""
    plugin, side = subject.plugin, SHORT_SIDES[0]
    with tempfile.TemporaryDirectory() as name:
        folder, written = Path(name), {}
        for number, sample in enumerate(subject.probes()):
            stem = f"{number}.probe/{PurePosixPath(sample.id).name}"
            written[stem] = plugin.condition(sample, side)
            try:
                plugin.write_condition(written[stem], folder / stem)
            except DataError as error:
                if type(plugin).write_condition is not DatasetPlugin.write_condition:
                    raise
                raise SkipError(str(error)) from None
        found = list(plugin.conditions(folder))
        ids = [condition.id for condition in found]
        require(sorted(ids) == sorted(written), f"written were {sorted(written)}, conditions() gave {ids}")
        require(
            ids == [item.id for item in plugin.conditions(folder)],
            "conditions() gives another order each time",
        )
        for item in found:
            read = plugin.read_part(item.files, item.part)
            _require_alike(plugin, written[item.id], read, item.id)
    return f"{len(written)} written and read again"


def _require_alike(plugin: DatasetPlugin, one: Condition, other: Condition, name: str) -> None:
    """Equal labels; channels may differ by rounding where few pixels show it."""
    require(
        one.size == other.size, f"{name}: a canvas of {one.size} was written, {other.size} is read (H, W)"
    )
    first, second = (planes_of(plugin, condition).astype(np.float32) for condition in (one, other))
    apart = np.abs(first - second)
    limit = 0.0 if plugin.spec.kind == "labels" else 0.02
    require(apart.mean() <= limit, f"{name}: what is read is not what was written ({apart.mean():.3f} apart)")
