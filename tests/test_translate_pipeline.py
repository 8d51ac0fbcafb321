"""The engine of translate-dir: batches, exemplars that are encoded once, and that no cut changes a byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mcltool_shapes import ShapesPlugin
from numpy.typing import NDArray
from translating import COUNT, files, make_numbered, manifest, run, task_of

from mcltool import DataError
from mcltool.core.errors import McltoolError
from mcltool.core.pixels import to_unit
from mcltool.data.batch import condition_planes
from mcltool.data.workers import Ahead
from mcltool.model.correspondence import confidence
from mcltool.model.network import EncodedExemplar
from mcltool.translate.exemplars import Exemplar
from mcltool.translate.job import Job, plugin_of
from mcltool.translate.manifest import Journal
from mcltool.translate.pipeline import ExemplarCache, Pipeline
from mcltool.translate.plan import Task
from mcltool.translate.reader import Photo, Preparer
from mcltool.translate.run import Run
from mcltool.translate.settings import Options, Settings
from mcltool.translate.translator import Translator


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_numbered(tmp_path)
    return tmp_path


@pytest.fixture
def translator(work: Path) -> Translator:
    weights = work / "runs" / "shapes-1" / "weights.safetensors"
    return Translator(weights, plugin_of(weights), "fp32", "cpu")


def job(work: Path, **options: Any) -> Job:
    weights = work / "runs" / "shapes-1" / "weights.safetensors"
    settings = Settings("fp32", batch_size=2)
    return Job(
        work / "masks",
        work / "photos",
        work / "out",
        weights,
        "stem",
        0,
        settings,
        Options(device="cpu", **options),
    )


def translated(
    translator: Translator, work: Path, numbers: Sequence[int], batch: int = 4
) -> dict[int, NDArray[np.uint8]]:
    """Numbered conditions, each with its photo, as one window."""
    tasks = [
        Task(n, f"{n}", f"{n}", "", (f"masks/{n:02d}.png",), "", (Exemplar(f"photos/{n:02d}.png"),))
        for n in numbers
    ]
    pipeline = Pipeline(translator, Preparer(translator.plugin, 32), batch)
    results = [result for batch in pipeline.run([tasks]) for result in batch]
    return {result.number: result.made()["image"] for result in results if result.made}


# --- the model behind it ---


def test_a_batch_with_encoded_exemplars_is_what_the_model_makes_of_each_pair(
    translator: Translator, work: Path
) -> None:
    """Sizes mixed, one exemplar used twice: against MCLNet.forward, pair by pair."""
    preparer = Preparer(translator.plugin, 32)
    conditions = [preparer.condition(task_of(f"masks/{n:02d}.png")).pixels for n in (0, 2, 4)]
    photos = [preparer.photo(f"photos/{n:02d}.png").pixels for n in (0, 1)]
    first, second = (translator.encode([photo])[0] for photo in photos if photo is not None)
    made = translator.translate(conditions, [first, first, second], ["warp"])  # type: ignore[arg-type]
    for row, (planes, photo) in enumerate(zip(conditions, (photos[0], photos[0], photos[1]), strict=True)):
        X = condition_planes(torch.from_numpy(planes)[None], translator.plugin.spec)
        Z = to_unit(torch.tensor(photo).permute(2, 0, 1)[None])
        with torch.inference_mode():
            expected = translator.model(X, Z)
        for found, tensor in ((made()["image"], expected.image), (made()["warp"], expected.warped)):
            levels = (tensor[0].permute(1, 2, 0).numpy() + 1) * 127.5
            # Rounded, and summed in another order: with several threads also by another batch's algorithms.
            np.testing.assert_allclose(found[row], levels, atol=1)


def test_confidence_is_the_largest_of_each_softmax() -> None:
    u, v = (torch.nn.functional.normalize(torch.randn(n, 5, dtype=torch.float64), dim=1) for n in (7, 11))
    expected = (u @ v.T / 0.1).softmax(1).amax(1)
    torch.testing.assert_close(confidence(u, v, 0.1, rows=3), expected)


# --- batches ---


def test_batches_are_of_one_size_and_at_most_the_batch_size(
    translator: Translator, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[tuple[int, ...]]] = []
    real = translator.translate

    def spy(conditions: Sequence[NDArray[Any]], *rest: Any) -> Any:
        seen.append([planes.shape for planes in conditions])
        return real(conditions, *rest)

    monkeypatch.setattr(translator, "translate", spy)
    assert sorted(translated(translator, work, range(COUNT), batch=3)) == list(range(COUNT))
    assert all(len(set(shapes)) == 1 for shapes in seen)
    by_size: dict[tuple[int, ...], list[int]] = {}
    for shapes in seen:
        by_size.setdefault(shapes[0], []).append(len(shapes))
    # 13 square ones; 9 become 32 x 64, twice as many pixels, of which one goes where two squares do not
    assert by_size == {(32, 32): [3, 3, 3, 3, 1], (32, 64): [1] * 6, (64, 32): [1] * 3}


def test_an_exemplar_is_encoded_once_for_all_its_conditions(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    real = Translator.encode

    def spy(self: Translator, photos: Sequence[NDArray[np.uint8]]) -> list[EncodedExemplar]:
        encoded.append(len(photos))
        return real(self, photos)

    monkeypatch.setattr(Translator, "encode", spy)
    for number in range(3, COUNT):
        (work / "photos" / f"{number:02d}.png").unlink()
    assert run("--pair", "cycle", "--batch-size", "2").exit_code == 0
    assert sum(encoded) == 3


def test_the_cache_keeps_what_was_used_last_within_its_bound() -> None:
    def encode(photos: Sequence[NDArray[np.uint8]]) -> list[EncodedExemplar]:
        encoded.extend(chr(photo[0, 0, 0]) for photo in photos)
        return [EncodedExemplar(torch.zeros(2**18), torch.zeros(1)) for _ in photos]  # 1 MiB each

    def read(photo: str) -> Photo:
        opened.append(photo)
        cause = "e: cut off" if photo == "e" else ""
        planes = np.full((1, 1, 3), ord(photo), np.uint8)
        return Photo(photo, photo, cause, None if cause else planes)

    opened: list[str] = []
    encoded: list[str] = []
    cache = ExemplarCache(encode, read, mebibytes=4)
    for name in ("a", "b", "c", "a", "d", "a", "c", "d", "b"):
        assert cache.get(name).source == name
    assert encoded == ["a", "b", "c", "d", "b"], "b gave way to d"
    for _ in range(2):
        with pytest.raises(DataError, match="e: cut off"):
            cache.get("e")
        assert cache.stamp("e") == "e"
    assert opened == ["a", "b", "c", "d", "e"], "what cannot be read is not opened again"


def test_what_does_not_fit_into_memory_is_halved_and_the_rest_goes_on(
    translator: Translator, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = translated(translator, work, range(COUNT), batch=1)
    real = translator.translate

    def small(conditions: Sequence[NDArray[Any]], *rest: Any) -> Any:
        if len(conditions) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(conditions, *rest)

    monkeypatch.setattr(translator, "translate", small)
    found = translated(translator, work, range(COUNT), batch=8)
    assert sorted(found) == sorted(expected)
    for number, image in expected.items():
        np.testing.assert_allclose(found[number].astype(int), image, atol=1)


def test_halving_is_reported_and_one_image_too_large_is_one_failed_line(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Translator.translate

    def small(self: Translator, conditions: Sequence[NDArray[Any]], *rest: Any) -> Any:
        if len(conditions) > 1 or conditions[0].shape == (64, 32):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return real(self, conditions, *rest)

    monkeypatch.setattr(Translator, "translate", small)
    result = run("--batch-size", "4")
    assert result.exit_code == 1
    assert "batches were halved" in result.output
    failed = [line for line in manifest(work / "out").values() if line["status"] == "failed"]
    assert len(failed) == 3
    assert all("not enough memory on the device" in line["cause"] for line in failed)


def test_an_error_that_is_not_memory_is_not_taken_for_it(
    translator: Translator, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("expected scalar type")

    monkeypatch.setattr(translator, "translate", broken)
    with pytest.raises(RuntimeError, match="scalar type"):
        translated(translator, work, [0])


# --- cut and gone on with ---


@pytest.mark.parametrize("taken", [1, 9, 21])
def test_a_job_cut_anywhere_and_run_again_gives_the_same_bytes(work: Path, taken: int) -> None:
    """Batches of mixed sizes are cut in the middle; what was written stays, what is missing is made."""
    assert run("--batch-size", "2", out="whole").exit_code == 0
    results = iter(Run(job(work)))
    done = {work / "out" / next(results).output for _ in range(taken)}
    results.close()
    times = {path: path.stat().st_mtime_ns for path in done}
    assert len(manifest(work / "out")) >= taken
    assert run("--batch-size", "2").exit_code == 0
    assert files(work / "out") == files(work / "whole")
    assert {path: path.stat().st_mtime_ns for path in done} == times, "made twice"


def test_one_output_that_is_missing_is_made_in_its_old_batch(work: Path) -> None:
    run("--batch-size", "3")
    before = files(work / "out")
    for number in (0, 6, 8, 15, COUNT - 1):  # of each size, in full batches and in the last
        (work / "out" / f"{number:02d}.png").unlink()
        assert "1 ok, 21 skipped" in run("--batch-size", "3").output
    assert files(work / "out") == before


@pytest.mark.slow
def test_workers_and_their_number_change_no_byte(work: Path) -> None:
    run("--batch-size", "2", out="thread")
    result = run("--batch-size", "2", "--workers", "2", "--json")
    assert result.exit_code == 0, result.output
    assert '"workers": 2' in result.stdout
    assert files(work / "out") == files(work / "thread")


def test_a_resumed_job_keeps_the_precision_and_batch_size_of_the_first(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcltool.core.device._best", lambda _: "bf16")
    assert run("--precision", "auto", "--batch-size", "3").exit_code == 0
    before = files(work / "out")
    (work / "out" / "07.png").unlink()
    monkeypatch.setattr("mcltool.core.device._best", lambda _: "fp32")
    result = run("--precision", "auto", "--json")
    assert '"ok": 1, "skipped": 21' in result.stdout
    assert '"precision": "bf16", "batch_size": 3' in result.stdout
    assert files(work / "out") == before
    assert "22 ok, 0 skipped" in run("--precision", "fp32").output


def test_a_finished_job_needs_no_model(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()

    def absent(*_: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Translator, "__init__", absent)
    assert "0 ok, 22 skipped" in run().output
    assert "0 to do, 22 done" in run("--dry-run").output


@pytest.mark.slow
def test_a_reader_process_that_is_killed_is_one_line(work: Path) -> None:
    with (
        Ahead(Killing(ShapesPlugin(), 32), 1) as reader,
        pytest.raises(McltoolError, match="worker process was killed"),
    ):
        list(reader.map([["photos/00.png"]]))


class Killing(Preparer):
    def photo(self, path: str) -> Photo:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_line_that_cannot_be_written_ends_the_job_and_it_goes_on_later(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Journal.add

    def full(self: Journal, entry: Any) -> int:
        if entry.input == "09.png":
            raise OSError(28, "No space left on device", str(self.path))
        return real(self, entry)

    monkeypatch.setattr(Journal, "add", full)
    result = run("--batch-size", "2")
    assert result.exit_code == 1
    assert "No space left on device" in result.output.splitlines()[-1]
    assert not list((work / "out").rglob("*.tmp"))
    assert not (work / "out" / ".mcltool").exists()
    monkeypatch.undo()
    monkeypatch.chdir(work)
    assert run("--batch-size", "2").exit_code == 0
    run("--batch-size", "2", out="whole")
    assert files(work / "out") == files(work / "whole")
