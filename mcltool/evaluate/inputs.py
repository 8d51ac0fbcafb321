"""What is compared with what: a request's folders as files by name, and its pairs in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mcltool.core.errors import UsageError
from mcltool.core.images import read_photo
from mcltool.evaluate.conditions import Conditions
from mcltool.evaluate.folders import (
    AS_THEY_ARE,
    BATCH,
    Files,
    Form,
    Pair,
    common_names,
    find_images,
    in_form,
    pair_exemplars,
    read_exemplar,
    read_like,
    tensor,
)
from mcltool.evaluate.metrics import METRICS
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.exemplars import Exemplar

OF_TRUTH = {metric.name for metric in METRICS.values() if metric.each and metric.needs == "real"}
"""They compare each output with the real photo of its name; metrics of sets take photos of any names."""


@dataclass(frozen=True)
class Request:
    """What to compare. real, exemplars, conditions: folders; others: more OUTs, of the same conditions in other styles.

    plugin: reads the conditions; None: they are pictures. metrics: some of METRICS, which then must run; None: all that
    can. form: how images are looked at. partial: leave out what has no counterpart. perceptual: the network of style
    and semantic. device: as --device.
    """

    out: Path
    real: Path | None = None
    exemplars: Path | None = None
    conditions: Path | None = None
    plugin: DatasetPlugin | None = None
    others: tuple[Path, ...] = ()
    metrics: tuple[str, ...] | None = None
    form: Form = AS_THEY_ARE
    partial: bool = False
    perceptual: Literal["vgg", "random"] = "vgg"
    device: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.metrics or ():
            if name not in METRICS:
                raise UsageError(f"--metrics: no metric {name!r}; there are {', '.join(METRICS)}")

    @property
    def asked(self) -> tuple[str, ...]:
        return self.metrics or tuple(METRICS)


@dataclass(frozen=True)
class Inputs:
    """The files of a request. names: of the outputs that are scored one by one."""

    names: Sequence[str]
    outputs: Files
    conditions: Conditions
    reals: Files = field(default_factory=dict)
    exemplars: Mapping[str, tuple[Exemplar, ...]] = field(default_factory=dict)
    others: tuple[Files, ...] = ()


def find_inputs(request: Request) -> Inputs:
    """Raises UsageError where a folder is missing or empty, or names do not match.

    Names of OUT and real photos need not match where only sets are compared.
    """
    outputs = find_images(request.out, "OUT")
    reals = find_images(request.real, "--real") if request.real else {}
    names = list(outputs)
    if reals and set(request.asked) & OF_TRUTH:
        names = common_names(outputs, reals, "--real", request.partial)
    others = tuple(find_images(folder, "--other") for folder in request.others)
    for more in others:
        names = common_names({name: outputs[name] for name in names}, more, "--other", request.partial)
    if reals and set(request.asked) & OF_TRUTH:
        outputs, reals = ({name: files[name] for name in names} for files in (outputs, reals))
    conditions = Conditions(request.conditions, request.plugin)
    exemplars = pair_exemplars(request.out, outputs, names, request.exemplars) if request.exemplars else {}
    for name, several in exemplars.items():
        conditions.check(name, several)
    return Inputs(names, outputs, conditions, reals, exemplars, others)


def pair_batches(inputs: Inputs, form: Form) -> Iterator[list[Pair]]:
    """The pairs in order, as many with outputs of one size in a row as fit a batch.

    Raises DataError for an image that cannot be read or is not of its output's size.
    """
    waiting: list[Pair] = []
    for name in inputs.names:
        pair = _read_pair(inputs, name, form)
        if waiting and (len(waiting) == BATCH or waiting[0].output.shape != pair.output.shape):
            yield waiting
            waiting = []
        waiting.append(pair)
    if waiting:
        yield waiting


def _read_pair(inputs: Inputs, name: str, form: Form) -> Pair:
    path = inputs.outputs[name]
    photo = read_photo(path)
    output = in_form(photo, form)
    size, reals, exemplars = output.shape[:2], inputs.reals, inputs.exemplars.get(name, ())
    return Pair(
        name=name,
        output=tensor(output),
        real=tensor(read_like(reals[name], output, path, form)) if name in reals else None,
        exemplars=tuple(tensor(read_exemplar(Path(one.path), min(size))) for one in exemplars),
        weights=inputs.conditions.weights(name, exemplars, photo.shape[:2], size),
        others=tuple(tensor(read_like(other[name], output, path, form)) for other in inputs.others),
    )
