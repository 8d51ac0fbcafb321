"""``mcltool doctor``: a sound machine, and one thing broken at a time."""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tiny_weights import make_weights

from mcltool.cli.main import cli
from mcltool.core.pretrained import NETWORKS
from mcltool.plugin.registry import names
from mcltool.tools import machine as machine_module
from mcltool.tools.doctor import EXTRAS, requirements

Found = dict[tuple[str, str], dict[str, str]]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of its own, and shipped weights that are taken as good."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("mcltool.core.lookup.shipped_weights", lambda: Path("shapes.safetensors"))


def examined(exit_code: int) -> Found:
    """What doctor --json says, by group and name."""
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert (document["broken"] > 0) == (exit_code == 1)
    return {(found["group"], found["name"]): found for found in document["findings"]}


def broken(found: Found) -> list[tuple[str, str]]:
    return [key for key, finding in found.items() if finding["status"] == "broken"]


def test_a_sound_machine_has_all_libraries_devices_and_plugins() -> None:
    found = examined(0)
    for name in requirements():
        assert found["program", name]["detail"] == version(name)
    assert re.search(r"cores.*--precision auto takes (bf16|fp32)", found["device", "cpu"]["detail"])
    assert {name for group, name in found if group == "plugin"} == set(names())
    assert all(found["network", name]["hint"] == f"mcltool weights get {name}" for name in NETWORKS)


def test_the_libraries_looked_at_are_those_that_the_package_needs() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = {"": project["dependencies"]} | {name: project["optional-dependencies"][name] for name in EXTRAS}
    for extra, lines in wanted.items():
        names = {re.split("[<>=]", line)[0].replace("_", "-") for line in lines}
        assert set(requirements(extra)) == names


def test_a_library_that_cannot_be_imported_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    found = examined(1)
    assert ("program", "h5py") in broken(found)
    assert found["program", "h5py"]["hint"] == "pip install --force-reinstall h5py"


def test_a_broken_plugin_is_named_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "acme-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mcltool.datasets]\nmeadow = no_such_module:Plugin\n")
    monkeypatch.syspath_prepend(info.parent)
    found = examined(1)
    assert broken(found) == [("plugin", "meadow")]
    assert "no_such_module" in found["plugin", "meadow"]["detail"]
    assert "MCLTOOL_DISABLE_PLUGINS=meadow" in found["plugin", "meadow"]["hint"]


def test_a_part_that_cannot_be_looked_at_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("metadata unreadable\nin two lines")

    monkeypatch.setattr("mcltool.plugin.registry.describe", fail)
    found = examined(1)
    assert broken(found) == [("plugin", "all")]
    assert found["plugin", "all"]["detail"] == "cannot be examined: OSError: metadata unreadable"
    assert ("network", "vgg19") in found


def test_a_damaged_network_is_told_from_a_missing_one() -> None:
    path = NETWORKS["alexnet"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    found = examined(1)
    assert broken(found) == [("network", "alexnet")]
    assert found["network", "alexnet"]["hint"] == f"delete {path} and run mcltool weights get alexnet"
    assert found["network", "vgg19"]["status"] == "note"


def test_a_folder_that_cannot_be_written_and_one_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr("mcltool.tools.machine.ROOM", 1 << 60)
    found = examined(1)
    assert broken(found) == [("disk", "downloads")]
    assert "cannot be written" in found["disk", "downloads"]["detail"]
    assert (
        found["disk", "working folder"]["status"],
        "--run" in found["disk", "working folder"]["hint"],
    ) == (
        "note",
        True,
    )


def test_a_gpu_that_this_torch_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcltool.tools.machine.NVIDIA", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    found = examined(1)
    assert broken(found) == [("device", "cuda")]
    assert "built without CUDA" in found["device", "cuda"]["detail"]


@pytest.mark.slow
def test_weights_of_runs_are_named_or_asked_for(tmp_path: Path) -> None:
    path = make_weights(tmp_path / "work" / "runs" / "one" / "weights.safetensors")
    assert examined(0)["weights", "newest run"]["detail"] == f"{path}, for shapes"
    make_weights(tmp_path / "work" / "runs" / "two" / "weights.safetensors", "meadow")
    assert examined(0)["weights", "newest run"]["hint"] == "name the file with --weights"


def test_in_a_terminal_marks_and_hints_are_shown() -> None:
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "→ mcltool weights get vgg19" in lines[next(n for n, x in enumerate(lines) if "! vgg19" in x) + 1]
    assert re.fullmatch(r"nothing is broken, \d+ notes", lines[-1])


def remark(found: Found, name: str) -> tuple[str, str, str]:
    finding = found["processor", name]
    return finding["status"], finding["detail"], finding["hint"]


def test_a_processor_without_avx512_under_a_quota_and_a_load_is_noted_with_what_it_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcltool.core.device.native_formats", lambda _: ("fp32",))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.setattr(machine_module, "affinity", lambda: set(range(8)))
    monkeypatch.setattr(machine_module, "quota", lambda: 1.5)
    monkeypatch.setattr(machine_module, "cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 0, 0))
    found = examined(0)
    assert remark(found, "instructions") == (
        "note",
        "AVX2: no AVX-512, no bf16",
        "products take about twice as long as with AVX-512; --precision auto takes fp32",
    )
    assert remark(found, "quota")[:2] == ("note", "1.5 of 8 processors' time")
    assert remark(found, "threads")[:2] == ("note", "8 threads on 2 cores")
    assert remark(found, "load")[:2] == ("note", "9.0 processes want 2 cores")
    assert "AVX2" in machine_module.slowdowns()


def test_a_processor_with_all_of_it_to_itself_gets_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcltool.core.device.native_formats", lambda _: ("bf16", "fp32"))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr(machine_module, "affinity", lambda: {0, 1})
    monkeypatch.setattr(machine_module, "quota", lambda: math.inf)
    monkeypatch.setattr(machine_module, "cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (2.0, 0, 0))
    assert machine_module.slowdowns() == ""
