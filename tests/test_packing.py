"""Making packs: whole after any interruption, and every obstacle one line."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from albums import CONFIG, Album, alike, flip, items, offset_in, packed, problems, run
from click.testing import CliRunner
from scenes import make_scenes

from mcltool.cli.main import cli
from mcltool.core.errors import McltoolError
from mcltool.data.dataset import TrainingData
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack


def test_parts_of_several_shapes_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plugin = tmp_path / "album.h5", Album()
    monkeypatch.setattr("mcltool.data.packing.PART_SAMPLES", 2)
    steps = packed(out)
    assert [step.samples for step in steps] == [2, 2, 2, 1, 2, 1] * 2
    assert problems(out) == []
    dataset, files = PackedDataset(plugin, out), TrainingData(plugin, plugin.index(None, "train"), CONFIG, 7)
    assert alike(items(TrainingData(dataset, dataset.index(None, "train"), CONFIG, 7)), items(files))
    assert json.loads(run("info", out, "--json").stdout)["splits"]["train"]["shapes"] == 5


@pytest.mark.slow
def test_packing_goes_on_after_a_kill(tmp_path: Path) -> None:
    out, parts = tmp_path / "shapes.h5", tmp_path / "shapes.h5.parts"
    command = ["pack", "--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "1", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "mcltool", *command])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers: list[int] = []
    while process.poll() is None and not list(parts.glob("*.h5")):
        workers = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = list(parts.glob("*.h5"))
    assert done, "the test was too slow to kill it"
    assert not out.exists()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they do not outlive it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (parts / ".left.h5.x.tmp").write_bytes(b"half")

    result = CliRunner().invoke(cli, command)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert result.stdout == f"{out}: 1000 samples, 512 of them from parts that were there, {size}\n"
    assert result.exit_code == 0
    assert problems(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.h5"]
    whole = tmp_path / "whole.h5"  # in one process, at one go
    run("--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "0", whole)
    assert whole.read_bytes() == out.read_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes a split."""
    return make_scenes(
        tmp_path / "ade20k", [((90, 60, 40), np.full((48, 64), n, np.uint8)) for n in range(2)]
    )


def test_small_photos_are_counted(root: Path, tmp_path: Path) -> None:
    for size, said in (("48x64", False), ("64", True)):
        done = run(
            "--plugin", "ade20k", "--root", root, "--size", size, "--workers", "0", tmp_path / f"{size}.h5"
        )
        words = "4 of 4 photos are smaller than 64x64 (height x width) and were enlarged"
        assert (words in done.stdout) is said, done.output


def test_broken_samples_are_named_and_the_rest_is_not_read_again(root: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "a.h5", root / "images" / "training" / "1.jpg"
    good = broken.read_bytes()
    broken.write_bytes(b"no photo")
    pack_it = ("--plugin", "ade20k", "--root", root, "--size", "36", "--workers", "0", out)
    result = run(*pack_it)
    assert result.exit_code == 1
    assert f"broken: 1: {broken}: not an image that can be read" in result.stdout
    assert "1 of 4 samples cannot be read" in result.stdout
    assert not out.exists()
    broken.write_bytes(good)
    result = run(*pack_it)
    assert result.exit_code == 0
    assert "4 samples, 2 of them from parts that were there" in result.stdout
    assert problems(out) == []


def test_only_what_changed_is_read_again(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcltool.plugin import registry as plugins

    plugin = plugins.load("ade20k")

    def stages(stop: bool = False, size=(36, 36)) -> list[str]:
        splits = {split: plugin.index(root, split) for split in ("train", "val")}
        steps = pack(plugin, splits, tmp_path / "a.h5", PackOptions(size))
        return [next(steps).stage, next(steps).stage] if stop else [step.stage for step in steps]

    assert stages(stop=True) == ["read", "read"]
    assert stages(stop=True) == ["kept", "kept"]
    part = next((tmp_path / "a.h5.parts").glob("val-*.h5"))  # a byte flips in a part that is there
    flip(part, offset_in(part, "buckets/0/photo", 1))
    assert stages(stop=True) == ["kept", "read"]
    photo = root / "images" / "training" / "0.jpg"
    os.utime(photo, ns=(1, 1))
    assert stages(stop=True) == ["read", "kept"]
    assert stages(size=(32, 32)) == ["read", "read", "assembled", "assembled"]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: at first no part fits, then all do, but not the pack."""
    out = tmp_path / "album.h5"
    out.write_bytes(b"what was there")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (60_000, 180_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(
                McltoolError, match=r"cannot be written \(.*kept in .*album.h5.parts: give it room"
            ):
                packed(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert out.read_bytes() == b"what was there"
        assert not list(tmp_path.rglob("*.tmp"))
    steps = packed(out)
    assert [step.stage for step in steps] == ["kept", "kept", "assembled", "assembled"]
    assert problems(out) == []


def test_too_little_room_for_the_pack_is_said_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        McltoolError, match=r"0\.0 GB are needed beside the parts.*run the same command again"
    ):
        packed(tmp_path / "album.h5")


def test_a_folder_that_cannot_be_written_to_is_one_line() -> None:
    """Root may write anywhere: the test goes on as nobody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            if not os.access(sys.prefix, os.R_OK, effective_ids=True):
                pytest.skip(
                    "nobody may not read the environment that the tests run in (tox closes its folder)"
                )
            result = run(
                "--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "0", folder / "a.h5"
            )
        finally:
            os.seteuid(user)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert f"{folder}/a.h5.parts cannot be written (Permission denied)" in result.stderr
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (("a.txt",), "expected the name of a .h5 file"),
        (("a.h5", "--size", "0"), "expected S or HxW in pixels"),
        (("a.h5", "--compression", "zip"), "'none', 'lzf', 'gzip'"),
        (("a.h5", "--split", "test"), "'train', 'val'"),
    ],
)
def test_wrong_options(
    args: tuple[str, ...], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--plugin", "shapes", *args)
    assert (result.exit_code, cause in result.stderr, list(tmp_path.iterdir())) == (2, True, [])


def test_the_default_size_is_what_training_takes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    run("--plugin", "ade20k", "--root", root, "--workers", "0", out)
    about = json.loads(run("info", out, "--json").stdout)
    assert (about["plugin"], about["size"], about["compression"]) == ("ade20k", [286, 286], "none")
    assert about["splits"]["train"] == {"samples": 2, "groups": 0, "shapes": 1, "retrieved": 0}
    shown = run("info", out).stdout
    assert "286 x 286 pixels" in shown
    assert "2 samples, 1 picture size" in shown


def test_help_shows_how_to_pack_and_the_other_commands() -> None:
    for words in (("--help",), ()):
        result = CliRunner().invoke(cli, ["pack", *words])
        assert "Usage: mcltool pack [OPTIONS] OUT.h5" in result.stdout
        assert "mcltool pack check" in result.stdout
