"""Does a plugin keep the contract? The checks of ``mcltool plugins check``, and for a plugin's own tests.

A check is a function of a Subject: it returns a note for the reader or "", and raises where the plugin fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcltool.conformance import declared, reading
from mcltool.conformance.subject import SkipError, Subject
from mcltool.data.contract import DatasetPlugin
from mcltool.errors import McltoolError


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
            yield Check(name, "failed", " ".join(f"{type(error).__name__}: {error}".split()))
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
    "identity": declared.check_identity,
    "spec": declared.check_spec,
    "defaults": declared.check_defaults,
    "index": declared.check_index,
    "index order": declared.check_order,
    "refusals": declared.check_refusals,
    "exemplar candidates": declared.check_groups,
    "photos": reading.check_photos,
    "conditions": reading.check_conditions,
    "rendering": reading.check_render,
    "repeatable": reading.check_repeats,
    "pickling": reading.check_pickle,
    "condition files": reading.check_folder,
    "damaged files": reading.check_damage,
    "training samples": reading.check_training,
}
