"""The manifest: a journal while a job runs, one line an input when it has ended; and the commands that read it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from faults import Fault, faults
from mcltool_shapes import ShapesPlugin

from mcltool.cli.main import cli
from mcltool.translate.folder import DONE, FAILED, PENDING, Ledger
from mcltool.translate.manifest import Entry, Journal, read_lines, stamp
from mcltool.translate.pairing import pair_by_names
from mcltool.translate.plan import Conditions, Exemplars, Plan

ENTRY = Entry("a.png", "style.jpg", "a.png", "ok", "", 12, "w" * 64, "s" * 16, "1@2 3@4", 1000.0)


def read_manifest(path: Path) -> list[Entry]:
    return [entry for _, entry in read_lines(path)]


def named(name: str, **changes: object) -> Entry:
    return ENTRY._replace(**{"input": name, "output": name, **changes})  # type: ignore[arg-type]


def write(path: Path, *entries: Entry) -> None:
    with Journal(path) as journal:
        for entry in entries:
            journal.add(entry)


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines() if line]


# --- the journal ---


def test_a_line_is_on_disk_as_soon_as_it_is_added(tmp_path: Path) -> None:
    with Journal(tmp_path / "manifest.jsonl") as journal:
        journal.add(named("b.png"))
        assert [line["input"] for line in lines(tmp_path)] == ["b.png"]
        journal.add(named("a.png", status="failed", cause="cut off"))
        assert [line["input"] for line in lines(tmp_path)] == ["b.png", "a.png"]
    assert lines(tmp_path)[1] == {
        "input": "a.png",
        "exemplar": "style.jpg",
        "output": "a.png",
        "status": "failed",
        "cause": "cut off",
        "milliseconds": 12,
        "weights": "w" * 64,
        "settings": "s" * 16,
        "source": "1@2 3@4",
        "finished": 1000.0,
    }


def test_a_job_that_dies_half_way_through_a_line_loses_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write(path, named("a.png"), named("b.png"))
    path.write_bytes(path.read_bytes()[:-20])
    assert [entry.input for entry in read_manifest(path)] == ["a.png"]
    write(path, named("c.png"))
    assert [entry.input for entry in read_manifest(path)] == ["a.png", "c.png"]


def test_the_place_of_a_line_is_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b'{"half a li')
    with Journal(path) as journal:
        places = [journal.add(named(f"é{n}\n.png")) for n in range(3)]
    data = path.read_bytes()
    assert [json.loads(data[place:].split(b"\n")[0])["input"] for place in places] == [
        f"é{n}\n.png" for n in range(3)
    ]


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "manifest.jsonl") as journal:
        journal.add(named("a.png"))
        half_then_full = Fault("append", "short", times=1), Fault("append", "ENOSPC")
        with faults(*half_then_full), pytest.raises(OSError, match="No space") as error:
            journal.add(named("b.png"))
        assert error.value.errno == errno.ENOSPC
        journal.add(named("c.png"))
    assert [line["input"] for line in lines(tmp_path)] == ["a.png", "c.png"]


def test_a_line_that_the_system_takes_in_pieces_is_whole(tmp_path: Path) -> None:
    with Journal(tmp_path / "manifest.jsonl") as journal, faults(Fault("append", "short")):
        places = [journal.add(named(name)) for name in ("a.png", "b.png")]
    assert [place for place, _ in read_lines(tmp_path / "manifest.jsonl")] == places
    assert [line["input"] for line in lines(tmp_path)] == ["a.png", "b.png"]


def test_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    odd = b"caf\xe9\n.png".decode(errors="surrogateescape")
    write(tmp_path / "manifest.jsonl", named(odd))
    assert read_manifest(tmp_path / "manifest.jsonl") == [named(odd)]


# --- what a job takes from it ---

W, S = ENTRY.weights, ENTRY.settings


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Four conditions and one exemplar, empty files: a plan reads none."""
    for name in ("masks/a.png", "masks/b.png", "masks/c.png", "masks/d.png", "photos/style.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(5, 5))
    (tmp_path / "out").mkdir()
    conditions, exemplars = Conditions(ShapesPlugin(), tmp_path / "masks"), Exemplars(tmp_path / "photos")
    pairs = pair_by_names(conditions, conditions.inputs, exemplars.names, "one")
    return Plan(conditions, exemplars, pairs)


def entry(name: str, out: Path | None = None, **changes: object) -> Entry:
    """The line of an input of ``plan``, and its output, if ``out`` is given."""
    if out:
        (out / name).write_bytes(b"picture")
    return named(name, **{"source": "0@5 0@5"} | changes)


def ledger(plan: Plan, out: Path, mine: list[bool] | None = None, name: str = "manifest.jsonl") -> Ledger:
    return Ledger(plan, out, out / name, np.array(mine or [True] * 4), W, S)


def test_a_stamp_is_the_size_and_time_of_each_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("four")
    os.utime(tmp_path / "a", ns=(1, 123456789))
    assert stamp([str(tmp_path / "a"), str(tmp_path / "none")]) == "4@123456789,missing"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, DONE),
        ({"status": "skipped"}, DONE),
        ({"status": "failed", "cause": "cut off"}, FAILED),
        ({"status": "failed", "source": "1@5 0@5"}, PENDING),
        ({"source": "0@6 0@5"}, PENDING),
        ({"source": "0@5 0@6"}, PENDING),
        ({"weights": "other"}, PENDING),
        ({"settings": "other"}, PENDING),
        ({"exemplar": "other.jpg"}, PENDING),
        ({"output": "b.jpg"}, PENDING),
    ],
)
def test_what_is_made_alike_of_the_same_files_is_done(
    plan: Plan, tmp_path: Path, changes: dict[str, object], state: int
) -> None:
    out = tmp_path / "out"
    write(out / "manifest.jsonl", entry("b.png", out, **changes))
    assert ledger(plan, out).states.tolist() == [PENDING, state, PENDING, PENDING]


def test_an_output_that_is_gone_is_made_anew(plan: Plan, tmp_path: Path) -> None:
    write(tmp_path / "out" / "manifest.jsonl", entry("b.png"))
    assert ledger(plan, tmp_path / "out").states.tolist() == [PENDING] * 4


def test_the_newest_of_several_lines_counts_in_whichever_manifest(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(
        out / "manifest.jsonl",
        entry("a.png", out, finished=2.0, weights="old"),
        entry("b.png", out, finished=2.0),
    )
    write(
        out / "manifest-1-of-2.jsonl",
        entry("a.png", finished=3.0),
        entry("b.png", finished=1.0, weights="old"),
    )
    assert ledger(plan, out).states.tolist() == [DONE, DONE, PENDING, PENDING]


def test_a_job_in_more_shards_than_a_byte_counts_is_resumed(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for shard in range(1, 301):
        write(out / f"manifest-{shard}-of-300.jsonl", entry("b.png", out))
    assert ledger(plan, out).states.tolist() == [PENDING, DONE, PENDING, PENDING]


def test_the_end_leaves_one_line_an_input_in_order_and_says_who_made_it(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(
        out / "manifest.jsonl", entry("d.png", out), entry("c.png", out), entry("a.png", out, weights="old")
    )
    found = ledger(plan, out)
    with Journal(found.path) as journal:
        found.made[0] = journal.add(entry("a.png"))
        found.made[1] = journal.add(entry("b.png", status="failed", cause='"status": "ok"'))
    found.write(tmp_path, absorb=True)
    assert [(line["input"], line["status"]) for line in lines(out)] == [
        ("a.png", "ok"),
        ("b.png", "failed"),
        ("c.png", "skipped"),
        ("d.png", "skipped"),
    ]


def test_lines_of_other_jobs_stay_while_their_outputs_do(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("kept.png", "a.png"):
        (out / name).write_bytes(b"picture")
    write(out / "manifest.jsonl", named("kept.png"), named("gone.png"), named("other.jpg", output="a.png"))
    ledger(plan, out).write(tmp_path, absorb=True)
    assert [line["input"] for line in lines(out)] == ["kept.png"]


def test_a_shards_manifest_has_the_shards_lines_and_the_whole_job_takes_them_in(
    plan: Plan, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write(out / "manifest.jsonl", entry("a.png", out), entry("b.png", out))
    shard = ledger(plan, out, [True, False, True, False], "manifest-1-of-2.jsonl")
    with Journal(shard.path) as journal:
        shard.made[2] = journal.add(entry("c.png", out))
    shard.write(tmp_path, absorb=False)
    assert [e.input for e in read_manifest(shard.path)] == ["a.png", "c.png"]
    assert [e.input for e in read_manifest(out / "manifest.jsonl")] == ["a.png", "b.png"]

    ledger(plan, out).write(tmp_path, absorb=True)
    assert [e.input for e in read_manifest(out / "manifest.jsonl")] == ["a.png", "b.png", "c.png"]
    assert not shard.path.exists()


# --- mcltool manifest ---


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["manifest", *args])


def test_merge_joins_the_shards_with_the_newest_line_of_each_output(tmp_path: Path) -> None:
    write(tmp_path / "manifest-1-of-2.jsonl", named("b.png", finished=2.0), named("a.png"))
    write(tmp_path / "manifest-2-of-2.jsonl", named("b.png", finished=1.0, status="failed"), named("c.png"))
    result = run("merge", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "3 lines of 2 manifests" in result.output
    assert [(line["input"], line["status"]) for line in lines(tmp_path)] == [
        ("a.png", "ok"),
        ("b.png", "ok"),
        ("c.png", "ok"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]
    assert run("merge", str(tmp_path)).exit_code == 0, "what is joined already"


def test_summary_counts_and_names_the_causes(tmp_path: Path) -> None:
    write(
        tmp_path / "manifest.jsonl",
        named("a.png"),
        named("b.png", status="failed", cause="masks/b.png: cut off"),
        named("c.png", status="failed", cause="masks/c.png: cut off"),
        named("d.png", status="skipped"),
    )
    output = run("summary", str(tmp_path)).output
    assert "1 ok, 1 skipped, 2 failed" in output
    assert "failed 2 times: cut off" in output
    found = json.loads(run("summary", str(tmp_path), "--json").output)
    assert (found["ok"], found["skipped"], found["failed"], found["causes"]) == (1, 1, 2, {"cut off": 2})


@pytest.mark.parametrize("command", ["merge", "summary"])
def test_a_folder_without_manifest_is_one_line(tmp_path: Path, command: str) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        result = run(command, str(folder))
        assert result.exit_code == 2
        assert f"{folder}: no manifest*.jsonl in it" in result.output
    assert not (tmp_path / "none").exists()
