"""Threads that compute: as many as this process has cores, yielding while they wait, and as the user has it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcltool.cli.main import cli
from mcltool.core import process

PROGRAM = """
import os, sys
from mcltool.cli.main import cli
try:
    cli(sys.argv[1:])
except SystemExit:
    pass
print(os.environ.get("OMP_NUM_THREADS"), os.environ.get("OMP_WAIT_POLICY"), flush=True)
"""


def settled(*args: str, more: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that had none of the settings but ``environment``; the last line says what it set."""
    clean = {
        name: value for name, value in os.environ.items() if name not in (*process.COUNT, *process.WAITING)
    }
    command = [sys.executable, "-c", PROGRAM + more, *args]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)


@pytest.mark.slow
def test_a_command_settles_threads_before_torch_is_loaded() -> None:
    done = settled(
        "plugins", "list", more="import torch; print(torch.get_num_threads())", OMP_DISPLAY_ENV="verbose"
    )
    *_, said, torch_has = done.stdout.splitlines()
    assert said == f"{process.cores()} passive"
    assert int(torch_has) == process.cores()
    if "OPENMP DISPLAY ENVIRONMENT" in done.stderr:  # this torch computes with OpenMP, and took it over
        assert re.search("GOMP_SPINCOUNT = '(0|1000)'", done.stderr)


@pytest.mark.parametrize(("load", "spin"), [(0.5, "1000"), (5.9, "1000"), (6.0, "0"), (30.0, "0")])
def test_a_waiting_thread_spins_only_where_the_machine_has_room(
    load: float, spin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*process.COUNT, *process.WAITING):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(process, "use_threads", lambda count: None)  # torch in this process keeps its number
    process.settle_threads()
    assert os.environ["GOMP_SPINCOUNT"] == spin
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_what_the_user_has_set_stays() -> None:
    done = settled("plugins", "list", OMP_NUM_THREADS="7", OMP_WAIT_POLICY="active")
    assert done.stdout.splitlines()[-1] == "7 active"
    done = settled("plugins", "list", MKL_NUM_THREADS="7", GOMP_SPINCOUNT="9")
    assert done.stdout.splitlines()[-1] == "None None"


def test_the_option_wins_over_the_environment() -> None:
    done = settled("explain", "a", "b", "c.png", "--threads", "3", "--at", "nowhere", OMP_NUM_THREADS="1")
    assert done.stdout.splitlines()[-1] == "3 passive"


def test_importing_the_package_settles_nothing() -> None:
    code = "import os; before = dict(os.environ); import mcltool, mcltool.cli.main; print(before == dict(os.environ))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


@pytest.mark.parametrize("given", ["0", "-1", "2.5", "many"])
def test_a_number_of_threads_that_is_none_is_refused(given: str) -> None:
    result = CliRunner().invoke(cli, ["explain", "a", "b", "c.png", "--threads", given])
    assert result.exit_code == 2
    assert f"{given}: must be a number from 1 on, or auto" in result.output


def control_groups(folder: Path, membership: str, limits: dict[str, str]) -> tuple[Path, Path]:
    own = folder / "own"
    own.write_text(membership)
    for path, text in limits.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{text}\n")
    return folder, own


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/docker/of-the-host\n", {"cpu.max": "50000 100000"}, 0.5),
        (
            "3:cpuset:/x\n1:cpu:/a\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "50000"},
            4,
        ),
        (
            "2:cpu,cpuacct:/gone\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "25000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            0.25,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("1:memory:/\n", {"memory/cpu.max": "1 100"}, math.inf),
    ],
)
def test_the_quota_of_control_groups(
    membership: str, limits: dict[str, str], expected: float, tmp_path: Path
) -> None:
    assert process.quota(*control_groups(tmp_path, membership, limits)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert process.quota(tmp_path, tmp_path / "none") == math.inf


def test_two_processors_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "affinity", lambda: {0, 1, 2, 6})
    for number, shared in {0: "0,4", 1: "1,5", 2: "2,6", 6: "2,6"}.items():
        place = tmp_path / f"cpu{number}/topology/core_cpus_list"
        place.parent.mkdir(parents=True)
        place.write_text(f"{shared}\n")
    assert process.physical_cores(tmp_path) == 3
    assert process.physical_cores(tmp_path / "none") == 4


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 4), (2.5, 3), (0.5, 1)])
def test_cores_are_those_of_the_affinity_within_the_quota(
    quota: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "physical_cores", lambda: 4)
    monkeypatch.setattr(process, "quota", lambda: quota)
    assert process.cores() == expected
