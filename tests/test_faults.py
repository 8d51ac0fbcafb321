"""What the system may do to a job: whatever it is, outputs are whole or not there, and running again makes the rest."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from faults import Fault, faults
from mcltool_shapes import ShapesPlugin
from tiny_weights import make_weights
from training import small_job, small_trainer
from translating import files, make_condition, make_photo, manifest, run

from mcltool import McltoolError, Sample
from mcltool.cli.main import _report, cli
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.train.checkpoints import newest_whole, write_checkpoint
from mcltool.train.loop import fit
from mcltool.translate.job import Job
from mcltool.translate.run import Run
from mcltool.translate.settings import Settings

pytestmark = pytest.mark.slow

OPTIONS = ("--batch-size", "2", "--save", "warp")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven conditions, two photos, and what an undisturbed job makes of them."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(7):
        make_condition(folder / "masks" / f"{number % 2}" / f"{number}.png", label=1 + number % 5)
    for number in range(2):
        make_photo(folder / "photos" / f"{number}.png", number)
    make_weights(folder / "runs" / "shapes-1" / "weights.safetensors")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(*OPTIONS, "--pair", "cycle", out="whole").exit_code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def work(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the same inputs, by links."""
    monkeypatch.chdir(tmp_path)
    for name in ("masks", "photos", "runs", "whole"):
        (tmp_path / name).symlink_to(inputs / name)
    return tmp_path


def translate(*options: str):  # type: ignore[no-untyped-def]
    return run(*OPTIONS, "--pair", "cycle", *options)


CALLS = ("create", "write", "append", "replace")


@pytest.mark.parametrize(
    ("call", "error", "skip"),
    [(call, error, 4) for call in CALLS for error in ("ENOSPC", "EIO", "EACCES")]
    + [(call, "ENOSPC", 0) for call in CALLS],
)
def test_a_call_that_fails_ends_the_job_in_one_line_and_it_goes_on_later(
    work: Path, call: str, error: str, skip: int
) -> None:
    with faults(Fault(call, error, skip=skip)):
        result = translate()
    whole = files(work / "whole")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output.splitlines()[-1].startswith("mcltool: ")
    assert "Traceback" not in result.output
    assert "bug" not in result.output
    assert files(work / "out").items() <= whole.items(), "half a file, or something left over"
    assert translate().exit_code == 0
    assert files(work / "out") == whole


@pytest.mark.parametrize(
    "fault",
    [
        Fault("write", "short"),
        Fault("append", "short"),
        Fault("clock", "jump"),
        Fault("write", "short", chance=0.3),
    ],
    ids=str,
)
def test_what_can_be_made_good_is(work: Path, fault: Fault) -> None:
    with faults(fault):
        assert translate().exit_code == 0
    assert fault.happened
    assert files(work / "out") == files(work / "whole")
    assert len(manifest(work / "out")) == 7
    assert "7 skipped" in translate().output, "the clock decides what is done"


def test_a_clock_set_back_does_not_bring_back_an_old_line(work: Path) -> None:
    """The line written last counts, whatever time is on it."""
    assert translate().exit_code == 0
    kept = (work / "out" / "manifest.jsonl").read_text()
    old, new = (
        kept.replace('"settings": "', '"settings": "x'),
        re.sub(r'"finished": \d+', '"finished": 5', kept),
    )
    (work / "out" / "manifest.jsonl").write_text(old + new)
    assert "7 skipped" in translate().output


def test_files_that_vanish_after_they_were_listed_are_failed_lines(work: Path, inputs: Path) -> None:
    for name in ("masks", "photos"):
        (work / name).unlink()
        for path in (inputs / name).rglob("*.png"):
            copy = work / name / path.relative_to(inputs / name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    weights = work / "runs" / "shapes-1" / "weights.safetensors"
    settings = Settings("fp32", batch_size=2)
    job = Job(work / "masks", work / "photos", work / "out", weights, "cycle", settings=settings)
    (work / "masks" / "0" / "2.png").unlink()
    (work / "photos" / "1.png").unlink()
    causes = {result.input: result.cause for result in Run(job)}
    assert "no such file" in causes["0/2.png"]
    by_photo = {entry["input"]: entry["exemplar"] for entry in manifest(work / "out").values()}
    for name, cause in causes.items():
        assert bool(cause) == (name == "0/2.png" or by_photo[name] == "1.png"), (name, cause)


def test_a_full_output_whose_content_a_power_cut_has_lost_is_made_again(work: Path) -> None:
    assert translate().exit_code == 0
    (work / "out" / "0" / "2.png").write_bytes(b"")
    assert translate().exit_code == 0
    assert files(work / "out") == files(work / "whole")


HANG = """
import sys, threading
from mcltool.core import patience
from mcltool.translate import reader
patience.LOOK_SECONDS, patience.LOOKS = 0.05, 10
read = reader.Preparer.condition
def condition(self, task):
    if task.files[0].endswith("6.png"):
        threading.Event().wait()
    return read(self, task)
reader.Preparer.condition = condition
from mcltool.cli.main import main
main()
"""


def hanging(where: str, *command: str, interrupt: bool = False) -> tuple[int, list[str]]:
    """Exit code and lines of a command in which ``where`` hangs. Limits: 3 s; once it hangs, half a second."""
    program = f"""
import pkgutil, signal, sys, threading
from mcltool.core import patience
from mcltool.data import loader
patience.LOOK_SECONDS, patience.LOOKS, patience.LONG_LOOKS, loader.BATCH_LOOKS = 0.3, 10, 10, 10
def hang(*_):
    patience.LOOK_SECONDS = 0.05
    {"threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()" if interrupt else ""}
    print("hangs", file=sys.stderr, flush=True)
    threading.Event().wait()
owner = pkgutil.resolve_name("{where.rpartition(".")[0]}")
setattr(owner, "{where.rpartition(".")[2]}", hang)
from mcltool.cli.main import main
main()
"""
    words = [sys.executable, "-c", program, *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    return done.returncode, lines[lines.index("hangs") + 1 :]


TRANSLATE = ("translate-dir", "masks", "photos", "out", "--device", "cpu", *OPTIONS, "--pair", "cycle")
FIT = (
    "fit", "--plugin", "shapes", "--preset", "tiny", "--size", "32", "--max-steps", "2", "--batch-size", "2",
    "--device", "cpu", "--perceptual", "none", "--run", "run",
)  # fmt: skip


def test_a_picture_that_never_gets_saved_ends_the_job(work: Path) -> None:
    """As on a disk that is gone, which no more is asked of."""
    code, lines = hanging("mcltool.translate.saving.OutputFolder.save", *TRANSLATE)
    assert code == 1
    assert lines[-1].startswith("mcltool: out: saving a picture: no answer in")
    assert lines[-1].endswith("check the file system, then run again to resume")
    assert translate().exit_code == 0
    assert files(work / "out") == files(work / "whole")


def test_ctrl_c_ends_a_job_whose_reader_hangs(work: Path) -> None:
    code, lines = hanging("mcltool.translate.reader.Preparer.condition", *TRANSLATE, interrupt=True)
    assert code == 130, lines
    assert "mcltool: interrupted" in lines
    assert translate().exit_code == 0
    assert files(work / "out") == files(work / "whole")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_samples_that_never_come_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines = hanging("mcltool.data.loader._Batches.__getitem__", *FIT, "--workers", workers)
    assert code == 1
    assert lines[-1].startswith("mcltool: the next batch of samples: no answer in")
    assert lines[-1].endswith("go on with mcltool fit --resume")


def test_a_sample_of_the_validation_that_never_comes_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines = hanging("mcltool_shapes.ShapesPlugin.condition", *FIT, "--workers", "1")
    assert code == 1
    assert lines[-1].startswith("mcltool: shapes: reading sample val/")


def test_a_checkpoint_that_never_gets_written_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines = hanging("mcltool.core.files.to_disk", *FIT, "--workers", "0")
    assert code == 1
    assert lines[-1].startswith("mcltool: run/checkpoints/step-000002: writing it: no answer in")


def test_a_read_that_never_ends_is_given_up_with_what_is_done_kept(work: Path) -> None:
    """As of a network file system that is gone; the process ends although its thread does not."""
    command = [sys.executable, "-c", HANG, "translate-dir", "masks", "photos", "out", "--device", "cpu"]
    options = [*OPTIONS, "--pair", "cycle", "--precision", "fp32", "--workers", "0"]
    # Batches of one: whole windows are given out before the one that hangs. Their pictures differ in the last bit
    # from those of larger batches.
    options[options.index("--batch-size") + 1] = "1"
    assert run(*options, out="undisturbed").exit_code == 0
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "no answer in 0 minutes" in last
    assert last.endswith("run again to resume")
    assert "Traceback" not in done.stderr
    assert files(work / "out").items() <= files(work / "undisturbed").items()
    assert run(*options).exit_code == 0
    assert files(work / "out") == files(work / "undisturbed")


# --- training ---


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    trainer = small_trainer()

    def write(step: int) -> None:
        header = WeightsHeader(trainer.config, ShapesPlugin().spec, "1", step)
        write_checkpoint(tmp_path, trainer, header, {}, {})

    write(2)
    before = files(tmp_path)
    for call, error in (("create", "ENOSPC"), ("replace", "EIO"), ("to_disk", "EIO"), ("replace", "EACCES")):
        with (
            faults(Fault(call, error)),
            pytest.raises(McltoolError, match="step-000004: the checkpoint cannot"),
        ):
            write(4)
        assert files(tmp_path) == before
    write(4)
    newest = newest_whole(tmp_path)
    assert newest is not None
    assert newest.step == 4


def test_a_loader_process_that_is_killed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the system for want of memory."""
    real, parent = ShapesPlugin.photo, os.getpid()

    def photo(self: ShapesPlugin, sample: Sample, short_side: int) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, sample, short_side)

    monkeypatch.setattr(ShapesPlugin, "photo", photo)
    with pytest.raises(McltoolError, match=r"a loader process was killed.*--resume"):
        fit(small_job(tmp_path, data__workers=1))


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may get larger than 40 kB, which is another error than that of a full disk and comes the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_safetensors_cannot_write_is_an_error_of_the_system(tmp_path: Path, small_disk: None) -> None:
    trainer = small_trainer()
    header = WeightsHeader(trainer.config, ShapesPlugin().spec, "1", 1)
    with pytest.raises(
        McltoolError, match=r"step-000001: the checkpoint cannot be written \(File too large\)"
    ):
        write_checkpoint(tmp_path, trainer, header, {}, {})
    with pytest.raises(OSError, match="File too large") as raised:
        save_weights(tmp_path / "weights.safetensors", trainer.average.state_dict(), header)
    assert raised.value.filename == str(tmp_path / "weights.safetensors")
    assert not any(tmp_path.iterdir())


# --- full disks, elsewhere than in translate-dir ---

FULL = "No space left on device; make room, then run the same command again"


@pytest.mark.parametrize(
    ("command", "skip", "path"),
    [
        (["fit", *FIT[1:], "--workers", "0"], 0, "run/config.json"),
        (["data", "preview", "--plugin", "shapes", "--size", "64", "sheet.png"], 0, "sheet.png"),
        (["evaluate", "whole", "--real", "whole", "--metrics", "psnr", "--to", "scores"], 0, "scores/report.html"),
        (["demo", "--photos", "--out", "demo"], 1, "demo/conditions/02-trousers.png"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_full_disk_is_named_with_its_path(work: Path, command: list[str], skip: int, path: str) -> None:
    with faults(Fault("write", "ENOSPC", skip=skip)):
        result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == f"mcltool: {path}: {FULL}"
    assert not (work / path).exists()


def test_a_full_disk_ends_an_export_at_once_and_a_bad_name_does_not(work: Path) -> None:
    """The next file would not fit either, whereas a folder of one file's name concerns that file alone."""
    command = ["data", "export-conditions", "--plugin", "shapes", "--count", "6", "out"]
    with faults(Fault("write", "ENOSPC", skip=2)):
        result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == f"mcltool: out/val/000002.png: {FULL}"
    assert sorted(path.name for path in (work / "out" / "val").iterdir()) == ["000000.png", "000001.png"]
    (work / "out" / "val" / "000003.png").mkdir()
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert "val/000003" in result.output
    assert "out: 5 written, 1 failed" in result.output


def test_an_error_of_the_system_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it comes from: one line with the file and the cause, and nothing that a terminal obeys."""
    assert _report(OSError(errno.ENOSPC, "No space left on device", "a\x1b[2J.csv")) == 1
    assert capsys.readouterr().err == f"mcltool: a\\x1b[2J.csv: {FULL}\n"
