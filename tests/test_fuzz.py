"""The fuzzer's targets read sound files, refuse mutated ones in one way, and never again meet what was once found."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS, read, seeds_of, write
from fuzz.worker import MOST_RESIDENT, make, peak, reset_peak

pytestmark = pytest.mark.slow

CASES = sorted((Path(__file__).parent / "fuzz" / "cases").glob("*/*"))
FEW = 25
"""Mutated inputs a reader; ``python tests/fuzz/run.py`` reads hundreds of thousands."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_mutated_is_sound(name: str, tmp_path: Path) -> None:
    for number, files in enumerate(seeds_of(name)):
        write(files, tmp_path / str(number))
        assert read(name, tmp_path / str(number)) == ""


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    for number in range(FEW):
        write(make(name, 0, number), tmp_path / str(number))
        read(name, tmp_path / str(number))


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_read_or_refused(case: Path, tmp_path: Path) -> None:
    """Findings of the fuzzer: an error that was not of mcltool's own, or too much memory."""
    files = {
        path.relative_to(case).as_posix(): path.read_bytes() for path in case.rglob("*") if path.is_file()
    }
    write(files, tmp_path / "input")
    reset_peak()
    before = peak()
    read(case.parent.name, tmp_path / "input")
    assert peak() - before < MOST_RESIDENT
