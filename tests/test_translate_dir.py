"""translate-dir, from files to files, with the networks of random tiny weights."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from mcltool_shapes import ShapesPlugin
from numpy.typing import NDArray
from PIL import Image
from tiny_weights import SPEC, make_weights
from translating import files, make_condition, make_photo, manifest, run, statuses

from mcltool import Condition, ConditionSpec, DataError, UsageError
from mcltool.model.network import EncodedExemplar, MCLNet, Translation
from mcltool.translate.job import Job
from mcltool.translate.reader import network_size, output_size, prepare_condition
from mcltool.translate.run import Run
from mcltool.translate.settings import Settings


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder: three masks in a tree, a photo for each by its name, and weights."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "deep/b", "deep/er/c")):
        make_condition(tmp_path / "masks" / f"{name}.png", label=number + 1)
        make_photo(tmp_path / "photos" / f"{name}.jpg", number)
    make_weights(tmp_path / "runs" / "shapes-1" / "weights.safetensors")
    return tmp_path


def test_one_picture_and_one_line_an_input_in_the_tree_of_the_conditions(work: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert f"weights: {work / 'runs' / 'shapes-1' / 'weights.safetensors'}" in result.output
    assert "3 ok, 0 skipped, 0 failed" in result.output
    assert sorted(files(work / "out")) == ["a.png", "deep/b.png", "deep/er/c.png"]
    line = manifest(work / "out")["deep/b.png"]
    assert (line["exemplar"], line["output"], line["status"]) == ("deep/b.jpg", "deep/b.png", "ok")
    assert line["milliseconds"] > 0


@pytest.mark.parametrize(
    ("size", "expected"),  # height, width
    [
        ((32, 32), (32, 32)),
        ((64, 64), (32, 32)),
        ((30, 45), (32, 48)),
        ((45, 30), (48, 32)),
        ((16, 19), (32, 38)),
    ],
)
def test_the_output_has_the_conditions_aspect(
    work: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    make_condition(work / "masks" / "a.png", size)
    assert run().exit_code == 0
    with Image.open(work / "out" / "a.png") as image:
        assert (image.height, image.width) == expected


def test_running_again_does_what_is_missing_and_nothing_else(work: Path) -> None:
    run()
    before = files(work / "out")
    assert "0 ok, 3 skipped, 0 failed" in run().output
    assert statuses(work / "out") == ["skipped"] * 3

    (work / "out" / "a.png").unlink()
    assert "1 ok, 2 skipped" in run().output
    assert files(work / "out") == before


def test_a_job_with_nothing_left_to_do_loads_no_torch(work: Path) -> None:
    run()
    words = ["translate-dir", "masks", "photos", "out", "--precision", "fp32"]
    code = f"""
import sys
from mcltool.cli.main import cli
try:
    cli({words!r})
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "3 skipped" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_what_other_weights_inputs_or_settings_made_is_made_anew(work: Path) -> None:
    run()
    make_condition(work / "masks" / "a.png", label=4)
    assert "1 ok, 2 skipped" in run().output
    make_photo(work / "photos" / "deep" / "b.jpg", seed=9)
    os.utime(work / "photos" / "deep" / "b.jpg", (1, 1))
    assert "1 ok, 2 skipped" in run().output
    make_weights(work / "runs" / "shapes-1" / "weights.safetensors", seed=5)
    assert "3 ok, 0 skipped" in run().output
    assert "3 ok, 0 skipped" in run("--precision", "bf16").output


def test_an_output_without_a_line_is_made_anew(work: Path) -> None:
    run()
    (work / "out" / "a.png").write_text("left over from something else")
    lines = (work / "out" / "manifest.jsonl").read_text().splitlines(keepends=True)
    (work / "out" / "manifest.jsonl").write_text("".join(lines[1:]))
    assert "1 ok, 2 skipped" in run().output
    with Image.open(work / "out" / "a.png") as image:
        image.load()


def test_an_unreadable_file_is_one_failed_line_and_the_rest_are_done(work: Path) -> None:
    (work / "masks" / "a.png").write_bytes((work / "masks" / "a.png").read_bytes()[:40])
    (work / "photos" / "deep" / "b.jpg").write_text("no photo")
    result = run()
    assert result.exit_code == 1
    assert "1 ok, 0 skipped, 2 failed" in result.output
    assert sorted(files(work / "out")) == ["deep/er/c.png"]
    found = manifest(work / "out")
    assert found["a.png"]["cause"].startswith(str(Path("masks") / "a.png") + ": ")
    assert found["deep/b.png"]["cause"].startswith(str(Path("photos") / "deep" / "b.jpg") + ": ")

    make_condition(work / "masks" / "a.png")
    make_photo(work / "photos" / "deep" / "b.jpg")
    assert "2 ok, 1 skipped, 0 failed" in run().output


def test_labels_outside_the_classes_fail_with_the_file_and_the_range(work: Path) -> None:
    make_condition(work / "masks" / "a.png", label=17)
    assert run().exit_code == 1
    assert "masks/a.png: label 17 is outside the classes 0..5" in manifest(work / "out")["a.png"]["cause"]


def test_a_ribbon_is_refused_before_it_takes_all_memory(work: Path) -> None:
    make_condition(work / "masks" / "a.png", (2, 20_000))
    assert run().exit_code == 1
    assert "masks/a.png: 20000 x 2 pixels" in manifest(work / "out")["a.png"]["cause"]


def test_a_job_that_is_cut_off_and_run_again_gives_the_same_bytes(work: Path) -> None:
    run(out="whole")
    weights = work / "runs" / "shapes-1" / "weights.safetensors"
    job = Job(work / "masks", work / "photos", work / "out", weights, settings=Settings("fp32"))
    results = iter(Run(job))
    assert next(results).input == "a.png"
    results.close()
    done = len(manifest(work / "out"))  # the first, and what was in flight
    assert f"{3 - done} ok, {done} skipped" in run().output
    assert files(work / "out") == files(work / "whole")


def test_all_is_checked_before_the_first_result_is_asked_for(work: Path) -> None:
    with pytest.raises(UsageError, match="no such weights file"):
        Job(work / "masks", work / "photos", work / "out", work / "none.safetensors")
    assert not (work / "out").exists()


def remove_masks(work: Path) -> None:
    for path in sorted((work / "masks").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def other_spec(work: Path) -> None:
    names = (*SPEC.names[:-1], "a thing that is not there")
    spec = ConditionSpec("labels", names, SPEC.palette)
    make_weights(work / "runs" / "shapes-1" / "weights.safetensors", spec=spec)


def fewer_classes(work: Path) -> None:
    spec = ConditionSpec("labels", SPEC.names[:3], SPEC.palette[:3])
    make_weights(work / "runs" / "shapes-1" / "weights.safetensors", spec=spec)


@pytest.mark.parametrize(
    ("prepare", "options", "cause"),
    [
        (remove_masks, [], "masks: no conditions of shapes in it"),
        (None, ["--weights", "none.safetensors"], "none.safetensors: no such weights file"),
        (
            lambda work: make_weights(work / "w", plugin="shaped"),
            ["--weights", "w"],
            "(did you mean shapes?)",
        ),
        (other_spec, [], "has 'a thing that is not there' as number 5, the installed one has "),
        (fewer_classes, [], "has 3 labels, the installed one has 6 labels"),
        (lambda work: make_photo(work / "photos" / "x.jpg"), ["--pair", "one"], "a single exemplar, found 4"),
        (
            lambda work: (work / "photos" / "a.jpg").rename("photos/x.jpg"),
            ["--pair", "stem"],
            "1 of 3 conditions have no exemplar of their name, such as a",
        ),
        (lambda work: (work / "out").write_text("in the way"), [], "out: expected a folder to write to"),
        (None, ["--device", "abacus"], "--device abacus: no such device"),
        (None, ["--precision", "fp16", "--device", "cpu"], "fp16 needs a GPU"),
        (
            None,
            ["--pair", "two"],
            "--pair two: must be one of auto, stem, one, cycle, random, all, nearest, or a list",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2_with_nothing_written(
    work: Path, prepare: Any, options: list[str], cause: str
) -> None:
    if prepare:
        prepare(work)
    result = run(*options)
    assert result.exit_code == 2
    message = [line for line in result.output.splitlines() if not line.startswith("weights: ")]
    assert len(message) == 1
    assert message[0].startswith("mcltool: ")
    assert cause in message[0]
    assert not (work / "out").is_dir()


def test_an_out_inside_the_conditions_is_refused(work: Path) -> None:
    result = run(out="masks/out")
    assert result.exit_code == 2
    assert "masks/out: OUT must not lie in CONDITIONS" in result.output


def test_a_full_disk_ends_the_job_with_one_line(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: IO[bytes], *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", file.name)

    monkeypatch.setattr("mcltool.translate.saving.save_picture", full)
    result = run()
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert last.startswith("mcltool: ")
    assert last.endswith("cannot be written (No space left on device); stopped here, run again to resume")
    assert not files(work / "out")
    monkeypatch.undo()
    monkeypatch.chdir(work)
    assert "3 ok" in run().output


def test_a_link_in_out_does_not_lead_writing_elsewhere(work: Path) -> None:
    (work / "elsewhere").mkdir()
    (work / "out").mkdir()
    (work / "out" / "deep").symlink_to(work / "elsewhere")
    assert run().exit_code == 1
    assert not files(work / "elsewhere")
    assert statuses(work / "out") == ["ok", "failed", "failed"]


def test_a_folder_where_an_output_should_be_fails_that_output_alone(work: Path) -> None:
    (work / "out" / "a.png").mkdir(parents=True)
    assert run().exit_code == 1
    assert statuses(work / "out") == ["failed", "ok", "ok"]


def test_each_condition_meets_its_exemplar_and_comes_back_upright(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that paints class 1 white and the rest in the exemplar's mean colour."""

    def encode(_: MCLNet, photos: torch.Tensor) -> list[EncodedExemplar]:
        return [EncodedExemplar(photo, photo.mean(dim=(1, 2))) for photo in photos]

    def paint(_: MCLNet, condition: torch.Tensor, exemplars: list[EncodedExemplar]) -> Translation:
        mean = torch.stack([exemplar.values for exemplar in exemplars])[:, :, None, None]
        image = torch.where(condition[:, None] == 1, torch.ones_like(mean), mean)  # labels, (B, H, W)
        return Translation(image, image)

    monkeypatch.setattr(MCLNet, "encode_exemplars", encode)
    monkeypatch.setattr(MCLNet, "translate", paint)
    colours = [(200, 40, 60), (10, 250, 30), (90, 80, 70)]
    for name, colour in zip(("a", "deep/b", "deep/er/c"), colours, strict=True):
        make_condition(work / "masks" / f"{name}.png", (64, 96), label=1)
        Image.new("RGB", (50, 40), colour).save(work / "photos" / f"{name}.png")
        (work / "photos" / f"{name}.jpg").unlink()
    assert run().exit_code == 0
    for name, colour in zip(("a", "deep/b", "deep/er/c"), colours, strict=True):
        expected = np.broadcast_to(np.array(colour, np.uint8), (32, 48, 3)).copy()
        expected[16:] = 255
        np.testing.assert_array_equal(np.asarray(Image.open(work / "out" / f"{name}.png")), expected)


@pytest.mark.parametrize(
    ("size", "short", "output", "network"),
    [
        ((512, 683), 256, (256, 342), (256, 352)),  # 341.5 and 341.5 / 32 = 10.67
        ((683, 512), 64, (85, 64), (96, 64)),
        ((100, 100), 96, (96, 96), (96, 96)),
        ((256, 176), 176, (256, 176), (256, 176)),  # as trained; no multiple of 32, padded inside
        ((250, 250), 90, (90, 90), (88, 88)),
        ((10, 80), 32, (32, 256), (32, 256)),
    ],
)
def test_sizes_keep_the_aspect_with_the_short_side_as_trained(
    size: tuple[int, int], short: int, output: tuple[int, int], network: tuple[int, int]
) -> None:
    assert output_size(size, short) == output
    assert network_size(size, short) == network


class Channels(ShapesPlugin):
    """Two channels: a raster, and a dot at each point."""

    spec = ConditionSpec("channels", ("line", "dots"), ((255, 0, 0), (0, 255, 0)))

    def render(self, condition: Condition) -> NDArray[Any]:
        assert condition.raster is not None
        assert condition.points is not None
        planes = np.zeros((*condition.size, 2), np.float32)
        planes[..., 0] = condition.raster / 255
        x, y = condition.points[~np.isnan(condition.points[:, 0])].round().astype(int).T
        planes[y, x, 1] = 1
        return planes


def test_points_and_raster_of_a_condition_stay_on_each_other() -> None:
    """A 4 x 4 canvas with one bright pixel and a point at its centre, made 8 times as large."""
    raster = np.zeros((4, 4), np.uint8)
    raster[1, 2] = 255
    points = np.array([[2, 1], [np.nan, np.nan]], np.float32)
    planes = torch.from_numpy(prepare_condition(Channels(), Condition((4, 4), raster, points), (32, 32)))
    bright = (planes[0] >= planes[0].max()).nonzero().float().mean(dim=0)
    dot = planes[1].nonzero().float()
    assert len(dot) == 1
    assert (dot[0] - bright).abs().max() <= 0.5  # the pixel covers rows 8..15, columns 16..23
    assert bright.tolist() == [11.5, 19.5]


def test_labels_are_resized_without_new_classes() -> None:
    labels = np.array([[0, 5], [5, 2]], np.uint8)
    resized = prepare_condition(ShapesPlugin(), Condition((2, 2), labels), (64, 64))
    np.testing.assert_array_equal(resized, labels.repeat(32, 0).repeat(32, 1))


def test_a_plugin_that_renders_something_else_than_its_spec_says_so() -> None:
    class Wrong(ShapesPlugin):
        def render(self, condition: Condition) -> NDArray[Any]:
            return np.full(condition.size, 6, np.uint8)

    with pytest.raises(DataError, match=r"shapes: label 6 is outside the classes 0\.\.5"):
        prepare_condition(Wrong(), Condition((2, 2), np.zeros((2, 2), np.uint8)), (32, 32))


# --- what names do not decide, single files, files that are not read, other numberings ---


def test_auto_keeps_the_photos_of_a_name_and_says_what_the_rest_get(work: Path) -> None:
    (work / "photos" / "deep" / "er" / "c.jpg").rename(work / "photos" / "other.jpg")
    result = run()
    assert result.exit_code == 0, result.output
    said = "2 of 3 conditions get the photo of their name; 1 without one (deep/er/c.png) get the photo whose"
    assert said in result.stderr
    lines = manifest(work / "out")
    assert [lines[name]["exemplar"] for name in ("a.png", "deep/b.png")] == ["a.jpg", "deep/b.jpg"]
    assert run("--pair", "nearest", out="nearest").exit_code == 0
    assert lines["deep/er/c.png"]["exemplar"] == manifest(work / "nearest")["deep/er/c.png"]["exemplar"]
    assert "3 skipped" in run().output


def test_a_single_file_is_translated_as_it_is_in_its_folder(work: Path) -> None:
    assert run().exit_code == 0
    result = run(conditions="masks/deep/b.png", exemplars="photos/deep", out="one")
    assert result.exit_code == 0, result.output
    assert list(files(work / "one")) == ["b.png"]
    one, other = (np.asarray(Image.open(work / name)) for name in ("one/b.png", "out/deep/b.png"))
    np.testing.assert_allclose(one, other, atol=1)  # another batch, other last bits


def test_files_that_are_not_read_are_named(work: Path) -> None:
    (work / "photos" / "z.heic").write_bytes(b"x")
    result = run("--dry-run")
    assert "not read below photos: 1 .heic (z.heic)" in result.stderr


def test_weights_trained_on_another_numbering_ask_for_the_conditions(work: Path) -> None:
    weights = make_weights(work / "w.safetensors", labels="zero-based")
    result = run("--weights", str(weights))
    assert (
        result.exit_code,
        "trained on label files numbered zero-based; are these too?" in result.stderr,
    ) == (2, True)
    assert run("--weights", str(weights), "--labels", "standard").exit_code == 0
