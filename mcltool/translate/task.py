"""What the stages of translating hand on: a condition on its way to its picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mcltool.core.pictures import Picture
from mcltool.core.pixels import Size
from mcltool.translate.exemplars import Exemplar, Weights

Pictures = Callable[[], dict[str, NDArray[Any]]]
"""What the network made: waits until it has arrived in this computer's memory, and gives it by kind: "image" and "warp"
(H, W, 3) uint8, "confidence" (H / 4, W / 4) float32 in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Task:
    """One condition to translate; each stage hands on a copy with what it has found.

    From the plan: number, its place there. input, exemplar, output: relative to CONDITIONS, EXEMPLARS and OUT, with "/"
    between folders; several exemplars as their label. files, part: as in ConditionFiles. exemplars: one, or those that
    act together. wanted: False for a task that only completes a batch, so that the bytes of the others stay the same.
    alone: encode each exemplar by itself, because tasks of other windows may use it too.

    From the reader: source, stamps of the files before they were read. pixels: the condition at its network size,
    (H, W) uint8 labels or (C, H, W) float32 in [0, 1]. size: of the output. weights: of its exemplars, where there are
    several; uncovered: positions at which regions and classes left none, so that all serve.

    From the pipeline: photos, the exemplars, (H, W, 3) each. made: the condition's pictures.

    From any of them: milliseconds, spent so far. cause: why there is no picture.
    """

    number: int
    input: str
    exemplar: str
    output: str
    files: tuple[str, ...]
    part: str = ""
    exemplars: tuple[Exemplar, ...] = ()
    wanted: bool = True
    alone: bool = False
    source: str = ""
    pixels: NDArray[Any] | None = None
    size: Size = (0, 0)
    weights: Weights | None = None
    uncovered: int = 0
    photos: Sequence[Picture] = ()
    made: Pictures | None = None
    milliseconds: float = 0.0
    cause: str = ""

    def __str__(self) -> str:
        return self.files[0]
