"""The manifest: a journal while a job runs, one sorted line an input when it has ended."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mcltool.translate.manifest import Entry, Manifest, read_manifest

ENTRY = Entry("a.png", "style.jpg", "a.png", "ok", "", 12, "w" * 64, "s" * 16, "d" * 16)


def named(name: str, **changes: object) -> Entry:
    return replace(ENTRY, **{"input": name, "output": name, **changes})  # type: ignore[arg-type]


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines() if line]


def test_a_line_is_on_disk_as_soon_as_it_is_added(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.add(named("b.png"))
        assert [line["input"] for line in lines(tmp_path)] == ["b.png"]
        manifest.add(named("a.png", status="failed", cause="cut off"))
        assert [line["input"] for line in lines(tmp_path)] == ["b.png", "a.png"]
    assert lines(tmp_path)[0] == {
        "input": "a.png",
        "exemplar": "style.jpg",
        "output": "a.png",
        "status": "failed",
        "cause": "cut off",
        "milliseconds": 12,
        "weights": "w" * 64,
        "settings": "s" * 16,
        "source": "d" * 16,
    }


def test_the_end_leaves_one_sorted_line_an_input_the_newest(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.add(named("b.png", status="failed"))
        manifest.add(named("a.png"))
    with Manifest(tmp_path) as manifest:
        manifest.add(named("b.png"))
        manifest.add(named("a.png", status="skipped"))
    assert [(line["input"], line["status"]) for line in lines(tmp_path)] == [
        ("a.png", "skipped"),
        ("b.png", "ok"),
    ]


def test_a_job_that_dies_half_way_through_a_line_loses_that_line_only(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.add(named("a.png"))
        manifest.add(named("b.png"))
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [entry.input for entry in read_manifest(path)] == ["a.png"]
    with Manifest(tmp_path) as manifest:
        manifest.add(named("c.png"))
        assert [entry.input for entry in read_manifest(path)] == ["a.png", "c.png"]


def test_an_exception_leaves_what_is_done(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), Manifest(tmp_path) as manifest:
        manifest.add(named("a.png"))
        raise KeyboardInterrupt
    assert [line["input"] for line in lines(tmp_path)] == ["a.png"]


def test_lines_of_other_jobs_stay_while_their_outputs_do(tmp_path: Path) -> None:
    for name in ("kept.png", "taken.png"):
        (tmp_path / name).touch()
    with Manifest(tmp_path) as manifest:
        for name in ("kept.png", "taken.png", "gone.png", "planned.png"):
            manifest.add(named(name))
        manifest.forget_missing(inputs=["planned.png", "taken.jpg"], outputs=["planned.png", "taken.png"])
    assert [line["input"] for line in lines(tmp_path)] == ["kept.png", "planned.png"]


def test_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    odd = b"caf\xe9\n.png".decode(errors="surrogateescape")
    with Manifest(tmp_path) as manifest:
        manifest.add(named(odd))
    assert read_manifest(tmp_path / "manifest.jsonl") == [named(odd)]


@pytest.mark.parametrize("field", ["exemplar", "output", "weights", "settings", "source"])
def test_outputs_are_alike_only_where_all_that_made_them_is(field: str) -> None:
    assert ENTRY.made_like(replace(ENTRY, status="skipped", milliseconds=3))
    assert not ENTRY.made_like(replace(ENTRY, **{field: "other"}))  # type: ignore[arg-type]
