"""A translate-dir job: the request, checked before anything is written and without a model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import digest, write_text
from mcltool.core.hub import repository_of
from mcltool.core.pixels import Size
from mcltool.core.weights import WeightsHeader, read_header
from mcltool.data.reading import FEW, summed_up
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.names import Pairs, read_list
from mcltool.translate.pairing import PAIRINGS, pair_by_names
from mcltool.translate.plan import Conditions, Exemplars, Plan
from mcltool.translate.reader import read_condition
from mcltool.translate.settings import FORMATS, NAME, Options, Settings, read_job


class Job:
    """A request to translate the folder ``conditions`` with ``exemplars`` (a folder or photo) into ``out``.

    pair, seed: as in ``pair_by_names``; regions: as in ``read_list``. plan: what to do; None where names leave some
    exemplars open (``pairs`` has -1) and the model has to choose them. Raises UsageError where the request cannot be
    carried out.
    """

    def __init__(
        self,
        conditions: Path,
        exemplars: Path,
        out: Path,
        weights: Path,
        pair: str = "auto",
        seed: int = 0,
        settings: Settings | None = None,
        options: Options | None = None,
        regions: Path | None = None,
    ) -> None:
        self.out, self.weights, self.pair, self.seed = out, weights, pair, seed
        self.options = options or Options()
        settings = settings or Settings()
        self.plugin = plugin_of(weights, settings.canvas, settings.labels)
        check_places(conditions, exemplars, out)
        self.digest = digest(weights)
        self.conditions, self.exemplars = Conditions(self.plugin, conditions), Exemplars(exemplars)
        self.settings = settings.completed(out, self.digest)
        self.pairs = self._pairs(regions)
        self.plan = None if (self.pairs.exemplars < 0).any() else self.planned(self.pairs)

    def planned(self, pairs: Pairs) -> Plan:
        """The plan for these pairs. Raises UsageError where its outputs cannot be written."""
        plan = Plan(self.conditions, self.exemplars, pairs, FORMATS[self.settings.format], self.settings.save)
        check_outputs(plan, self.out)
        return plan

    def notes(self) -> list[str]:
        """Lines to print before the job runs: how exemplars are chosen if not by name, and signs that conditions are
        read wrongly."""
        return [*self._choice(), *self._doubts()]

    def save(self, settings: Settings, scratch: Path) -> None:
        """Write OUT/job.json: the settings, and further facts for its readers."""
        document = {
            "weights": self.digest, "settings": settings.as_json(),
            "weights_file": repository_of(self.weights) or str(self.weights),
            "plugin": self.plugin.name, "pair": self.pair, "seed": self.seed,
        }  # fmt: skip
        if read_job(self.out) != document:
            write_text(self.out / NAME, json.dumps(document, indent=2) + "\n", scratch)

    def _pairs(self, regions: Path | None) -> Pairs:
        names = self.conditions, self.conditions.inputs, self.exemplars.names
        if self.pair not in PAIRINGS and Path(self.pair).exists():
            return read_list(Path(self.pair), *names, self.exemplars.folder, self.plugin.spec, regions)
        if regions and self.pair in PAIRINGS:
            raise UsageError(f"--regions {regions}: needs a list of exemplars, --pair FILE.csv")
        return pair_by_names(*names, self.pair, self.seed)

    def _choice(self) -> list[str]:
        left = np.flatnonzero(self.pairs.exemplars < 0)
        if self.pair != "auto" or not left.size:
            return []
        count, rule = len(self.conditions), "the photo whose features fit best (nearest)"
        if left.size == count:
            return [f"no condition has a photo of its name: each gets {rule}"]
        some = ", ".join(self.conditions.inputs[int(number)] for number in left[:3])
        more = ", ..." if left.size > 3 else ""
        return [
            f"{count - left.size} of {count} conditions get the photo of their name; {left.size} without one "
            f"({some}{more}) get {rule}"
        ]

    def _doubts(self) -> list[str]:
        counts: Counter[str] = Counter()
        some = range(0, len(self.conditions), max(1, len(self.conditions) // FEW))[:FEW]
        for number in some:
            paths, part = self.conditions.files(number)
            try:
                found = read_condition(self.plugin, [Path(path) for path in paths], part)
                counts[self.plugin.doubt(found)] += 1
            except DataError:
                continue  # reported when it is translated
        counts.pop("", None)
        return [f"doubtful: {line}" for line in summed_up(counts, len(some))]


def check_places(conditions: Path, exemplars: Path, out: Path) -> None:
    """Raises UsageError where OUT is not a folder or lies where its files would become inputs."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    for name, source in {"CONDITIONS": conditions, "EXEMPLARS": exemplars}.items():
        if out.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{out}: OUT must not lie in {name} ({source}), its files would become inputs")


def check_outputs(plan: Plan, out: Path) -> None:
    """Raises UsageError where an output would fall among inputs that lie below OUT."""
    for name, folder in {"conditions": plan.conditions.folder, "exemplars": plan.exemplars.folder}.items():
        if not folder.resolve().is_relative_to(out.resolve()):
            continue
        inner = folder.resolve().relative_to(out.resolve()).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        for number in range(len(plan)):
            output = plan.names.of(number)
            if output.startswith(prefix):
                raise UsageError(f"{out / output}: an output would fall among the {name}; choose another OUT")


def plugin_of(weights: Path, canvas: Size | None = None, labels: str = "") -> DatasetPlugin:
    """The installed plugin that a weights file was trained with. canvas, labels: as in Settings.

    Raises UsageError where it is not installed, its conditions are not those of the weights, or they take no canvas.
    """
    header = read_header(weights)
    try:
        plugin = plugins.load(header.plugin).for_spec(header.condition)
    except UsageError as error:
        raise UsageError(f"{weights}: needs the plugin it was trained with: {error}") from None
    if plugin.spec != header.condition:
        raise UsageError(f"{weights}: {_difference(header, plugin)}")
    plugins.use_reading(plugin, labels, canvas=canvas)
    return plugin


def _difference(header: WeightsHeader, plugin: DatasetPlugin) -> str:
    """How the conditions of the weights and of the installed plugin differ, in words."""
    theirs, ours = header.condition, plugin.spec
    if (theirs.kind, theirs.channels) != (ours.kind, ours.channels):
        what = f"{theirs.channels} {theirs.kind}, the installed one has {ours.channels} {ours.kind}"
    elif theirs.names != ours.names:
        pairs = zip(theirs.names, ours.names, strict=True)
        index, (a, b) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        what = f"{a!r} as number {index}, the installed one has {b!r}"
    else:
        what = "another palette or unknown class than the installed one"
    made_with = f"{header.plugin} version {header.plugin_version}"
    return f"made with {made_with}, which has {what} (version {plugin.version})"
