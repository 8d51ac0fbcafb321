"""What a directory job will do: which conditions, with which exemplar, to which output. Reads names only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mcltool.data.contract import IMAGE_SUFFIXES, ConditionFiles, DatasetPlugin, walk_files
from mcltool.errors import UsageError

SUFFIX = ".png"
PAIRINGS = ("auto", "stem", "one", "cycle")


@dataclass(frozen=True)
class Task:
    """One condition to translate.

    input: its name relative to CONDITIONS, unique in the job. part: as in ConditionFiles. exemplar_name: relative
    to EXEMPLARS. output: relative to OUT. All names with "/" between folders.
    """

    input: str
    files: tuple[Path, ...]
    part: str
    exemplar: Path
    exemplar_name: str
    output: str


def plan(
    plugin: DatasetPlugin, conditions: Path, exemplars: Path, out: Path, pair: str = "auto"
) -> list[Task]:
    """The tasks of a job, sorted by input: a function of the names alone.

    Raises UsageError where a folder is missing or empty, OUT lies where its files would become inputs, or a
    condition has no exemplar.
    """
    _check_out(out, {"CONDITIONS": conditions, "EXEMPLARS": exemplars})
    found = list(plugin.conditions(conditions))
    if not found:
        raise UsageError(f"{conditions}: no conditions of {plugin.name} in it")
    photos = list(walk_files(exemplars, IMAGE_SUFFIXES))
    if not photos:
        raise UsageError(f"{exemplars}: no photos in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    inputs = [_input_name(condition, conditions) for condition in found]
    outputs = output_names([condition.id for condition in found], inputs)
    _check_inside(outputs, conditions, out)
    names = [photo.relative_to(exemplars).as_posix() for photo in photos]
    chosen = pair_exemplars([condition.id for condition in found], names, pair)
    return [
        Task(name, condition.files, condition.part, photos[index], names[index], output)
        for condition, name, output, index in zip(found, inputs, outputs, chosen, strict=True)
    ]


def pair_exemplars(ids: Sequence[str], exemplars: Sequence[str], pair: str) -> list[int]:
    """For each condition the index of its exemplar.

    ids: of conditions, without suffix. exemplars: relative names. pair: "stem" takes the exemplar of the same
    relative path without suffix, else the only one of the same base name; "one" the only exemplar; "cycle"
    all in turn; "auto" stem where every condition has one, else one. Raises UsageError where that cannot be.
    """
    if pair == "cycle":
        return [number % len(exemplars) for number in range(len(ids))]
    if pair in ("stem", "auto"):
        matches = _match_stems(ids, exemplars)
        missing = [name for name, match in zip(ids, matches, strict=True) if match is None]
        if not missing:
            return [match for match in matches if match is not None]
        lacking = (
            f"{len(missing)} of {len(ids)} conditions lack an exemplar of their name, such as {missing[0]}"
        )
        if pair == "stem":
            raise UsageError(f"--pair stem: {lacking}")
        if len(exemplars) > 1:
            raise UsageError(
                f"{lacking}; choose how to pair the {len(exemplars)} exemplars: --pair cycle, or one"
            )
    elif pair != "one":
        raise UsageError(f"--pair {pair}: must be one of {', '.join(PAIRINGS)}")
    if len(exemplars) > 1:
        raise UsageError(f"--pair one: expected a single exemplar, found {len(exemplars)}")
    return [0] * len(ids)


def output_names(ids: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Output of each condition: its id with the suffix .png, or its whole name with it where two collide.

    ids: without suffix; inputs: the same names with suffix. Raises UsageError for inputs that are not all
    different, or would leave OUT.
    """
    if len(set(inputs)) < len(inputs):
        raise UsageError(
            f"{Counter(inputs).most_common(1)[0][0]}: the plugin gives several conditions this name"
        )
    for name in inputs:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UsageError(f"{name}: not a name below CONDITIONS")
    outputs = [name + SUFFIX for name in ids]
    while True:
        taken = Counter(outputs)
        longer = [
            full + SUFFIX if taken[output] > 1 else output
            for output, full in zip(outputs, inputs, strict=True)
        ]
        if longer == outputs:
            return outputs
        outputs = longer


def _match_stems(ids: Sequence[str], exemplars: Sequence[str]) -> list[int | None]:
    by_path: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for index, exemplar in enumerate(exemplars):
        stem = PurePosixPath(exemplar).with_suffix("")
        by_path.setdefault(stem.as_posix(), []).append(index)
        by_name.setdefault(stem.name, []).append(index)
    matches: list[int | None] = []
    for name in ids:
        found = by_path.get(name) or by_name.get(PurePosixPath(name).name, [])
        matches.append(found[0] if len(found) == 1 else None)
    return matches


def _input_name(condition: ConditionFiles, folder: Path) -> str:
    """The file's own name where the condition is one file named after its id, else the id."""
    if len(condition.files) == 1 and condition.files[0].is_relative_to(folder):
        path = condition.files[0].relative_to(folder)
        if path.with_suffix("").as_posix() == condition.id:
            return path.as_posix()
    return condition.id


def _check_out(out: Path, sources: dict[str, Path]) -> None:
    for name, source in sources.items():
        if out.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{out}: OUT must not lie in {name} ({source}), its files would become inputs")


def _check_inside(outputs: Sequence[str], conditions: Path, out: Path) -> None:
    """No output may fall among the conditions where these lie below OUT."""
    if conditions.resolve().is_relative_to(out.resolve()):
        inner = conditions.resolve().relative_to(out.resolve()).as_posix()
        for output in outputs:
            if output.startswith(f"{inner}/"):
                raise UsageError(
                    f"{out / output}: an output would fall among the conditions; choose another OUT"
                )
