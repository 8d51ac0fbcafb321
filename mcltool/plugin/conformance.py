"""Does a plugin keep the contract? The checks of ``mcltool plugins check``, and for a plugin's own tests.

A check is a function of a Subject: it returns a note for the reader or "", and raises where the plugin fails.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from mcltool.core.config import resolve
from mcltool.core.errors import McltoolError, UsageError, one_line
from mcltool.core.presets import PRESETS
from mcltool.data.dataset import TrainingData
from mcltool.plugin import conformance_reading
from mcltool.plugin.conformance_reading import SkipError, Subject, require, require_raises
from mcltool.plugin.contract import CONTRACT_VERSION, PLUGIN_NAME, ConditionSpec, DatasetPlugin, Sample

SPLITS = ("train", "val")
STATED = 500
"""Samples of each split whose files are looked for."""


def check_identity(subject: Subject) -> str:
    plugin = subject.plugin
    made_for = f"made for contract version {plugin.contract}, this mcltool has version {CONTRACT_VERSION}"
    require(1 <= plugin.contract <= CONTRACT_VERSION, made_for)
    require(
        isinstance(plugin.name, str) and PLUGIN_NAME.fullmatch(plugin.name),
        f"name {plugin.name!r}: expected a-z0-9-",
    )
    require(
        isinstance(plugin.version, str) and plugin.version,
        f"version is {plugin.version!r}, expected a string",
    )
    require(isinstance(plugin.needs_root, bool), "needs_root must be True or False")
    require(isinstance(plugin.home_page, str), "home_page must be a string")
    return "" if plugin.home_page or not plugin.needs_root else "home_page is empty"


def check_spec(subject: Subject) -> str:
    spec = subject.plugin.spec
    require(isinstance(spec, ConditionSpec), f"spec is {spec!r}, expected a mcltool.ConditionSpec")
    require(spec == subject.plugin.spec, "spec differs from one time to the next")
    require(all(isinstance(name, str) and name for name in spec.names), "a name is empty or no string")
    twice = [name for name, times in Counter(spec.names).items() if times > 1]
    require(not twice, f"several classes or channels have the name {', '.join(twice)}")
    for name, colour in zip(spec.names, spec.palette, strict=True):
        fits = len(colour) == 3 and all(isinstance(value, int) and 0 <= value <= 255 for value in colour)
        require(fits, f"the colour of {name} is {colour!r}, expected three whole numbers 0..255")
    require(
        ConditionSpec.from_json(spec.to_json()) == spec, "spec does not survive JSON (names, tuples of ints)"
    )
    told = type(subject.plugin)().for_spec(ConditionSpec.from_json(spec.to_json())).spec
    require(told == spec, "for_spec() gives a plugin of another spec")
    shared = len(spec.palette) - len(set(spec.palette))
    return f"{spec.channels} {spec.kind}" + (f", {shared} share a colour with another" if shared else "")


def check_defaults(subject: Subject) -> str:
    for preset in PRESETS:
        resolve(subject.plugin.name, preset, subject.plugin.defaults)
    return f"{len(subject.plugin.defaults)} settings"


def check_index(subject: Subject) -> str:
    for split in SPLITS:
        samples = subject.plugin.index(subject.root, split)
        require(isinstance(samples, Sequence), f"index() gave {type(samples).__name__}, expected a sequence")
        require(len(samples), f"{split} is empty")
        for sample in samples:
            _require_sample(sample)
        twice = [name for name, times in Counter(sample.id for sample in samples).items() if times > 1]
        require(not twice, f"{split}: {len(twice)} ids are not unique, such as {twice[:1]}")
        for sample in samples[:: max(1, len(samples) // STATED)]:
            for path in (*((sample.photo,) if sample.photo else ()), *sample.condition):
                require(path.is_file(), f"{split}: sample {sample.id}: {path}: no such file")
        subject.samples[split] = samples
    train, val = (
        {sample.photo for sample in samples if sample.photo} for samples in subject.samples.values()
    )
    both = train & val
    require(not both, f"{len(both)} photos are in train and in val, such as {next(iter(both), '')}")
    return ", ".join(f"{split} {len(samples)}" for split, samples in subject.samples.items())


def _require_sample(sample: Sample) -> None:
    require(isinstance(sample, Sample), f"index() gave {sample!r}, expected mcltool.Sample")
    require(isinstance(sample.id, str) and sample.id, f"the id {sample.id!r} is no string, or empty")
    name = PurePosixPath(sample.id)
    fits = not name.is_absolute() and ".." not in name.parts and "\\" not in sample.id
    require(fits, f"the id {sample.id!r} does not do as a file name: no leading /, no .. and no \\")
    require(isinstance(sample.photo, Path | None), f"{sample.id}: photo is {sample.photo!r}, expected a Path")
    is_tuple = isinstance(sample.condition, tuple) and all(
        isinstance(path, Path) for path in sample.condition
    )
    require(is_tuple, f"{sample.id}: condition is {sample.condition!r}, expected a tuple of Paths")
    require(
        isinstance(sample.group, str) and isinstance(sample.part, str),
        f"{sample.id}: group, part: no strings",
    )


def check_order(subject: Subject) -> str:
    for split, samples in subject.samples.items():
        for plugin, whose in (
            (subject.plugin, "a second call"),
            (type(subject.plugin)().for_spec(subject.plugin.spec), "another instance"),
        ):
            again = plugin.index(subject.root, split)
            same = len(again) == len(samples) and all(map(Sample.__eq__, again, samples))
            require(same, f"{split}: {whose} of index() gave other samples, or another order")
    subject.probes()
    return ""


def check_refusals(subject: Subject) -> str:
    """What cannot be indexed is a UsageError."""
    plugin = subject.plugin
    require_raises(
        UsageError, partial(plugin.index, subject.root, "no-such-split"), "index() of an unknown split"
    )
    if plugin.needs_root:
        nowhere = Path(tempfile.gettempdir()) / "mcltool-no-such-folder"
        require_raises(UsageError, partial(plugin.index, None, "train"), "index() without a root")
        message = require_raises(
            UsageError, partial(plugin.index, nowhere, "train"), "index() of a missing folder"
        )
        require(str(nowhere) in message, f"index() of {nowhere} does not name it: {message}")
    return ""


def check_groups(subject: Subject) -> str:
    subject.probes()
    notes = []
    for split, samples in subject.samples.items():
        sizes = Counter(sample.group for sample in samples if sample.group)
        candidates = sum(size for size in sizes.values() if size > 1)
        notes.append(f"{split}: {candidates} of {len(samples)} samples have another view")
    groups = [{sample.group for sample in samples if sample.group} for samples in subject.samples.values()]
    both = len(set.intersection(*groups))
    return ", ".join(notes) + (f"; {both} groups are in both splits" if both else "")


def check_damage(subject: Subject) -> str:
    """Files that are not what they should be are one DataError, not a crash."""
    suffixes = {path.suffix for sample in subject.probes() for path in sample.condition} | {".png"}
    with tempfile.TemporaryDirectory() as name:
        for suffix in sorted(suffixes):
            for stem, content in (("an empty", b""), ("a damaged", b"\x89PNG\r\n\x1a\nnothing of the kind")):
                path = Path(name) / f"{stem.split()[1]}{suffix}"
                path.write_bytes(content)
                what = f"read_condition() of {stem} {suffix} file"
                require_raises(McltoolError, partial(subject.plugin.read_condition, [path]), what)
        missing = Path(name) / "missing.png"
        what = "read_condition() of a missing file"
        require_raises(McltoolError, partial(subject.plugin.read_condition, [missing]), what)
    require_raises(McltoolError, partial(subject.plugin.read_condition, []), "read_condition() of no file")
    return ""


def check_training(subject: Subject) -> str:
    """Samples come through the training augmentation, mirrored ones too, at sizes that are not square."""
    plugin = subject.plugin
    settings = {"data.size": (64, 96), "data.flip": True}
    config = resolve(plugin.name, "tiny", plugin.defaults, settings).data
    planes = (64, 96) if plugin.spec.kind == "labels" else (plugin.spec.channels, 64, 96)
    shapes = (("target", (3, 64, 96)), ("exemplar", (3, 64, 96)), ("condition", planes))
    probes = len(subject.probes())
    for split in subject.samples:  # one by one: an id may be in both
        data = TrainingData(plugin, subject.probes(split), config, seed=0)
        for number in range(2 * len(data)):
            item = data[number]
            for name, shape in shapes:
                found = tuple(item[name].shape)
                require(found == shape, f"{split}: the {name} of item {number} is {found}")
    return f"{2 * probes} augmented samples of 64 x 96"


@dataclass(frozen=True)
class Check:
    """The outcome of one check. detail: the cause where it failed, why it was skipped, or a note."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    detail: str = ""


def run_checks(plugin: DatasetPlugin, root: Path | None) -> Iterator[Check]:
    """Run every check, one outcome each; none stops the others. root: as for ``DatasetPlugin.index``."""
    subject = Subject(plugin, root)
    for name, check in CHECKS.items():
        try:
            note = check(subject)
        except SkipError as reason:
            yield Check(name, "skipped", str(reason))
        except (AssertionError, McltoolError) as error:
            yield Check(name, "failed", " ".join(str(error).split()))
        except Exception as error:
            yield Check(name, "failed", one_line(error))
        else:
            yield Check(name, "passed", note)


def assert_conforms(plugin: DatasetPlugin, root: Path | None) -> None:
    """For tests of plugins: raises AssertionError with every failed check and its cause."""
    failed = [
        f"{check.name}: {check.detail}" for check in run_checks(plugin, root) if check.status == "failed"
    ]
    if failed:
        raise AssertionError(f"{plugin.name} does not keep the plugin contract:\n" + "\n".join(failed))


CHECKS: dict[str, Callable[[Subject], str]] = {
    "identity": check_identity,
    "spec": check_spec,
    "defaults": check_defaults,
    "index": check_index,
    "index order": check_order,
    "refusals": check_refusals,
    "exemplar candidates": check_groups,
    "photos": conformance_reading.check_photos,
    "conditions": conformance_reading.check_conditions,
    "rendering": conformance_reading.check_render,
    "repeatable": conformance_reading.check_repeats,
    "pickling": conformance_reading.check_pickle,
    "condition files": conformance_reading.check_folder,
    "damaged files": check_damage,
    "training samples": check_training,
}
