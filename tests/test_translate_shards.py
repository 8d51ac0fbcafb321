"""Many processes and one OUT: shards, torchrun, locks, kills and signals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_weights import make_weights
from translating import OWN, files, make_condition, make_photo, manifest, run

from mcltool.core.locks import locked
from mcltool.translate.folder import claimed
from mcltool.translate.job import Job
from mcltool.translate.run import Run
from mcltool.translate.settings import Options, Shard

pytestmark = pytest.mark.slow

COUNT = 24
COMMAND = [
    sys.executable, "-m", "mcltool", "translate-dir", "masks", "photos", "out", "--device", "cpu",
    "--precision", "fp32", "--batch-size", "2",
]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 conditions, three photos in turn, one condition that cannot be read."""
    monkeypatch.chdir(tmp_path)
    for number in range(COUNT):
        make_condition(tmp_path / "masks" / f"{number:02d}.png", label=1 + number % 5)
    for number in range(3):
        make_photo(tmp_path / "photos" / f"{number}.png", number)
    make_weights(tmp_path / "runs" / "shapes-1" / "weights.safetensors")
    return tmp_path


def shard(text: str, *options: str) -> str:
    result = run("--pair", "cycle", "--batch-size", "2", "--shard", text, *options)
    assert result.exit_code == 0, result.output
    return result.output


# --- shards ---


def test_shards_cover_each_input_once_and_make_the_same_bytes(work: Path) -> None:
    run("--pair", "cycle", "--batch-size", "2", out="whole")
    assert "8 ok" in shard("1/2") + shard("2/2")
    parts = [manifest(work / "out", f"manifest-{n}-of-2.jsonl").keys() for n in (1, 2)]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == COUNT
    found = {name: data for name, data in files(work / "out").items() if name.endswith(".png")}
    assert found == files(work / "whole")

    # The whole job finds nothing left to do, and takes the shards' manifests in.
    assert f"0 ok, {COUNT} skipped" in run("--pair", "cycle", "--batch-size", "2").output
    assert sorted(path.name for path in (work / "out").glob("manifest*")) == ["manifest.jsonl"]
    assert len(manifest(work / "out")) == COUNT


def test_a_lost_shard_is_finished_by_running_it_again(work: Path) -> None:
    shard("1/3")
    shard("3/3")
    assert "0 ok, 8 skipped" in shard("1/3")
    assert "8 ok" in shard("2/3")
    assert len({path.name for path in (work / "out").glob("*.png")}) == COUNT


def test_torchrun_ranks_cover_each_input_once_and_the_first_joins_the_manifests(work: Path) -> None:
    (work / "masks" / "05.png").write_text("no mask")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        *COMMAND[2:],
    ]
    done = subprocess.run([*command, "--pair", "cycle"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr  # one failed
    found = manifest(work / "out")
    assert len(found) == COUNT
    assert [name for name, line in found.items() if line["status"] == "failed"] == ["05.png"]
    assert sorted(files(work / "out")) == [f"{n:02d}.png" for n in range(COUNT) if n != 5]
    assert done.stdout.count("out: ") == 2, "each rank sums up"


# --- locks ---


def test_a_second_job_in_one_out_is_refused(work: Path) -> None:
    weights, options = work / "runs/shapes-1/weights.safetensors", Options(device="cpu")
    job = Job(work / "masks", work / "photos" / "0.png", work / "out", weights, options=options)
    first = iter(Run(job))
    next(first)
    for options in ([], ["--shard", "1/2"]):
        result = run("--pair", "cycle", *options)
        assert result.exit_code == 2
        assert "out: another job is writing to it" in result.output.splitlines()[-1]
    first.close()
    assert run("--pair", "cycle").exit_code == 0


def test_shards_of_one_count_work_together_and_others_are_refused(work: Path) -> None:
    with claimed(work / "out", Shard(0, 2)):
        shard("2/2")
        for options in (["--shard", "1/2"], ["--shard", "2/3"], []):
            result = run("--pair", "cycle", *options)
            assert result.exit_code == 2
            assert "another job is writing to it" in result.output.splitlines()[-1]


def test_what_a_killed_shard_has_left_is_removed_by_the_next_job(work: Path) -> None:
    left = work / "out" / ".mcltool" / "2-of-5"
    left.mkdir(parents=True)
    (left / ".a.png.123.tmp").write_text("half a pict")
    (left.parent / "2-of-5.lock").write_text("123")
    held = work / "out" / ".mcltool" / "1-of-1.lock"
    with locked(held, "held by this test"):
        pass
    assert run("--pair", "cycle").exit_code == 0
    assert not (work / "out" / ".mcltool").exists()


# --- kills and signals ---


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--pair", "cycle", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outputs() -> set[str]:
    return {path.name for path in Path("out").glob("*.png")}


def wait_for_outputs(job: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 120
    while len(outputs()) < count and job.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def test_a_job_killed_twice_and_run_again_has_the_bytes_of_one_that_was_not(work: Path) -> None:
    """tests/bench/kills.py does it thirty times."""
    run("--pair", "cycle", "--batch-size", "2", out="whole")
    chance = random.Random(0)
    for options in ([], ["--workers", "2"]):
        job = start(*options)
        wait_for_outputs(job, len(outputs()) + 1 + chance.randrange(5))
        readers = readers_of(job)
        job.kill()
        job.communicate()
    assert len(readers) == 2
    assert run("--pair", "cycle", "--batch-size", "2").exit_code == 0
    assert files(work / "out") == files(work / "whole")
    assert len(manifest(work / "out")) == COUNT
    end = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in readers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in readers), "readers outlive their job"


def readers_of(job: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_in_flight_and_exits_with_130(work: Path, number: int) -> None:
    job = start("--json", "--workers", "1")
    wait_for_outputs(job, 1)
    job.send_signal(number)
    stdout, stderr = job.communicate(timeout=60)
    assert job.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "mcltool: interrupted"
    assert json.loads(stdout)["interrupted"] is True
    assert {path.name for path in Path("out").iterdir()} == OWN | outputs(), "something is left over"
    found = manifest(work / "out")
    assert {line["output"] for line in found.values()} == outputs(), (
        "a file without line, or a line without file"
    )
    assert len(found) < COUNT
    assert run("--pair", "cycle", "--batch-size", "2").exit_code == 0
