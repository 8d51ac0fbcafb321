"""What translate-dir writes: formats, sizes, pictures beside the results, the gallery; and hostile inputs."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from zlib import crc32

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, features
from tiny_weights import make_weights
from translating import files, make_condition, make_photo, manifest, run

from mcltool import read_photo
from mcltool.cli.main import cli


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_condition(tmp_path / "masks" / "a.png", (60, 90), label=2)
    make_condition(tmp_path / "masks" / "deep" / "b.png", (64, 64), label=3)
    make_photo(tmp_path / "photos" / "style.jpg")
    make_weights(tmp_path / "runs" / "shapes-1" / "weights.safetensors")
    return tmp_path


def sizes(out: Path) -> dict[str, tuple[int, int]]:
    """Name to width, height."""
    found = {}
    for name in files(out):
        with Image.open(out / name) as image:
            found[name] = image.size
    return found


# --- formats and sizes ---


@pytest.mark.parametrize("form", ["jpg", "webp", "avif"])
def test_other_formats_show_the_same_picture_in_fewer_bytes_at_less_quality(work: Path, form: str) -> None:
    if form != "jpg" and not features.check(form):
        pytest.skip(f"this Pillow has no {form}")
    assert run(out="png").exit_code == 0
    bytes_at = {}
    for quality in ("100", "10"):
        result = run("--format", form, "--quality", quality)
        assert "2 ok" in result.output, "another quality, and yet skipped"
        bytes_at[quality] = (work / "out" / "deep" / f"b.{form}").stat().st_size
        if quality == "100":
            with (
                Image.open(work / "png" / "deep" / "b.png") as exact,
                Image.open(work / "out" / "deep" / f"b.{form}") as lossy,
            ):
                assert lossy.format == {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}[form]
                difference = np.abs(
                    np.asarray(exact.convert("L"), float) - np.asarray(lossy.convert("L"), float)
                )
            assert difference.mean() < 3
    assert bytes_at["10"] < bytes_at["100"]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ([], {"a.png": (48, 32), "deep/b.png": (32, 32)}),
        (["--size", "50"], {"a.png": (75, 50), "deep/b.png": (50, 50)}),
        (["--size", "keep"], {"a.png": (90, 60), "deep/b.png": (64, 64)}),
    ],
)
def test_the_short_side_is_the_trained_one_or_what_is_asked_for_or_the_conditions_own(
    work: Path, size: list[str], expected: dict[str, tuple[int, int]]
) -> None:
    assert run(*size).exit_code == 0
    assert sizes(work / "out") == expected


def test_a_whole_size_is_for_conditions_of_its_aspect(work: Path) -> None:
    result = run("--size", "40x60")
    assert result.exit_code == 1
    assert sizes(work / "out") == {"a.png": (60, 40)}
    cause = manifest(work / "out")["deep/b.png"]["cause"]
    assert cause.endswith(
        "64 x 64 pixels cannot be made 60 x 40 without distorting it: --size 40 keeps the aspect"
    )
    assert run("--size", "40x60").exit_code == 1  # what job.json keeps of it is read again
    assert "1 skipped" in run("--size", "40x60").output


def test_a_size_that_would_take_all_memory_is_one_failed_line(work: Path) -> None:
    make_condition(work / "masks" / "huge.png", (3000, 3000))
    assert run("--size", "keep").exit_code == 1
    assert (
        "its short side would be 3000 pixels; --size allows at most 2048"
        in manifest(work / "out")["huge.png"]["cause"]
    )


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--quality", "80"], "--quality: PNG keeps every pixel"),
        (["--quality", "0", "--format", "jpg"], "--quality 0: expected 1 to 100"),
        (["--size", "8"], "--size 8: expected keep, or pixels, at least 16 a side"),
        (["--size", "64x8"], "--size 64x8: expected keep, or pixels"),
        (["--save", "warp,depth"], "--save depth: must be one of warp, grid, confidence"),
        (["--batch-size", "0"], "--batch-size 0: expected a number from 1, or auto"),
        (["--shard", "3/2"], "--shard 3/2: expected I/N"),
        (["--pair", "none.csv"], "--pair none.csv: must be one of"),
    ],
)
def test_options_that_do_not_fit_are_one_line(work: Path, options: list[str], cause: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert cause in result.output.splitlines()[-1]
    assert not (work / "out").exists()


# --- pictures beside the results ---


def test_extras_are_written_beside_each_result(work: Path) -> None:
    assert run("--save", "warp,grid,confidence").exit_code == 0
    found = sizes(work / "out")
    for name, size in (("a", (48, 32)), ("deep/b", (32, 32))):
        assert found[f"{name}.png"] == found[f"{name}.warp.png"] == found[f"{name}.confidence.png"] == size
        assert found[f"{name}.grid.png"][0] > 4 * 60
    assert len(found) == 8
    assert "2 ok, 0 skipped" in run("--save", "warp").output, "other pictures are wanted, and yet skipped"


def test_the_warped_exemplar_of_a_plain_photo_is_that_colour(work: Path) -> None:
    Image.new("RGB", (40, 40), (200, 30, 90)).save(work / "photos" / "style.png")
    (work / "photos" / "style.jpg").unlink()
    run("--save", "warp")
    warp = np.asarray(Image.open(work / "out" / "a.warp.png"), int)
    assert np.abs(warp - [200, 30, 90]).max() <= 1


def test_all_pairs_name_their_exemplar_and_have_a_line_each(work: Path) -> None:
    make_photo(work / "photos" / "x" / "other.png", seed=3)
    assert "4 ok" in run("--pair", "all").output
    assert sorted(files(work / "out")) == [
        "a--style.png",
        "a--x--other.png",
        "deep/b--style.png",
        "deep/b--x--other.png",
    ]
    lines = [json.loads(line) for line in (work / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(line["input"], line["exemplar"]) for line in lines] == [
        ("a.png", "style.jpg"),
        ("a.png", "x/other.png"),
        ("deep/b.png", "style.jpg"),
        ("deep/b.png", "x/other.png"),
    ]
    assert "0 ok, 4 skipped" in run("--pair", "all").output


def test_a_dry_run_writes_nothing_and_tells_what_it_would_do(work: Path) -> None:
    output = run("--dry-run", "--pair-out", "pairs.csv").output
    assert "2 to do, 0 done, 0 failed before" in output
    assert "deep/b.png with style.jpg to deep/b.png" in output
    assert not (work / "out").exists()
    assert (work / "pairs.csv").read_text().splitlines() == [
        "condition,exemplar",
        "a.png,style.jpg",
        "deep/b.png,style.jpg",
    ]
    run()
    assert json.loads(run("--dry-run", "--json").stdout) == {
        "out": "out",
        "to_do": 0,
        "done": 2,
        "failed_before": 0,
    }


def test_what_failed_is_tried_again_when_it_has_changed_or_is_asked_for(work: Path) -> None:
    (work / "masks" / "a.png").write_bytes(b"no image")
    assert run().exit_code == 1
    result = run()
    assert result.exit_code == 1
    assert "0 ok, 1 skipped, 1 failed" in result.output
    assert "--retry-failed tries it again" in result.output
    assert "finished" in manifest(work / "out")["a.png"]
    before = manifest(work / "out")["a.png"]["finished"]
    assert run("--retry-failed").exit_code == 1
    assert manifest(work / "out")["a.png"]["finished"] > before
    make_condition(work / "masks" / "a.png")
    assert "1 ok, 1 skipped, 0 failed" in run().output
    assert "2 ok, 0 skipped" in run("--overwrite").output


def test_the_json_summary_is_one_line(work: Path) -> None:
    summary = json.loads(run("--json").stdout)
    assert (summary["ok"], summary["skipped"], summary["failed"], summary["interrupted"]) == (2, 0, 0, False)
    assert {"seconds", "precision", "batch_size", "device", "waited_reading_seconds"} <= summary.keys()


# --- hostile folders ---


def png_of_size(path: Path, width: int, height: int) -> None:
    """A small file whose header declares a size."""
    Image.new("L", (1, 1)).save(path)
    data = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", crc32(header)) + data[33:])


def test_a_hostile_folder_gives_each_input_a_picture_or_a_cause(work: Path) -> None:
    masks = work / "masks"
    labels = np.asarray(Image.open(masks / "a.png"))
    (masks / "truncated.png").write_bytes((masks / "a.png").read_bytes()[:60])
    (masks / "zero.png").touch()
    (masks / "wrong.jpg").write_bytes((masks / "a.png").read_bytes())  # a PNG inside: read by what it is
    (masks / "text.bmp").write_text("not an image")
    png_of_size(masks / "declared.png", 30_000, 30_000)
    png_of_size(masks / "bomb.png", 500_000, 500_000)
    Image.fromarray(labels).convert("CMYK").save(masks / "cmyk.tif")
    Image.fromarray(labels.astype(np.uint16)).save(masks / "sixteen.png")
    frames = [Image.fromarray(labels), Image.fromarray(labels * 0)]
    frames[0].save(masks / "animated.png", save_all=True, append_images=frames[1:])
    Image.fromarray(labels).save(masks / "new\nline.png")
    odd = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(labels).save(masks / odd)
    (masks / "dangling.png").symlink_to("nowhere.png")
    (masks / "self.png").symlink_to("self.png")
    (masks / "folder.png").mkdir()
    (masks / "loop").symlink_to(masks)
    os.mkfifo(masks / "pipe.png")
    (masks / "locked.png").write_bytes((masks / "a.png").read_bytes())
    (masks / "locked.png").chmod(0)

    result = run()
    assert result.exit_code == 1, result.output
    found = manifest(work / "out")
    translated = {"a.png", "deep/b.png", "wrong.jpg", "sixteen.png", "animated.png", "new\nline.png", odd}
    if os.access(masks / "locked.png", os.R_OK):  # as root
        translated.add("locked.png")
    assert {name for name, line in found.items() if line["status"] == "ok"} == translated
    causes = {name: line["cause"] for name, line in found.items() if line["status"] == "failed"}
    expected = {
        "truncated.png": "damaged or cut-off image",
        "zero.png": "not an image that can be read",
        "text.bmp": "not an image that can be read",
        "declared.png": "900 million pixels are more than can be read",
        "bomb.png": "250000 million pixels are more than can be read",
        "cmyk.tif": "expected a label map",
        "dangling.png": "a link to what is not there",
        "self.png": "cannot be read (Too many levels of symbolic links)",
        "folder.png": "expected an image file, found a folder",
        "pipe.png": "expected a file, found a pipe",
    }
    if "locked.png" not in translated:
        expected["locked.png"] = "no permission"
    assert causes.keys() == expected.keys()
    for name, cause in expected.items():
        assert cause in causes[name]
    shown = [line for line in result.output.splitlines() if line.startswith("failed: ")]
    assert len(shown) == len(causes)

    plain = read_photo(work / "out" / "a.png").astype(float)
    for name in ("wrong.png", "sixteen.png", "animated.png", "new\nline.png", odd):
        same = read_photo(work / "out" / name)  # up to how sums are split among threads in another batch
        np.testing.assert_allclose(same, plain, atol=1, err_msg=f"{name!r} is the same mask")
    assert run("--gallery").exit_code == 1
    assert f"{len(translated)} skipped" in run().output


def test_photos_of_every_kind_serve_as_exemplars(work: Path) -> None:
    """The same picture in CMYK, 16 bits a colour, with a palette and animated, for one condition."""
    rows = np.random.default_rng(0).integers(0, 5, (40, 40, 3)) * 63
    picture = rows.repeat(1, 0).astype(np.uint8)
    photos = work / "photos"
    (photos / "style.jpg").unlink()
    Image.fromarray(picture).save(photos / "plain.png")
    Image.fromarray(picture).convert("CMYK").save(photos / "cmyk.tif")
    cv2.imwrite(str(photos / "sixteen.png"), picture[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(picture).save(
        photos / "animated.webp", save_all=True, append_images=[Image.new("RGB", (40, 40))], lossless=True
    )
    assert "8 ok" in run("--pair", "all").output
    plain = np.asarray(Image.open(work / "out" / "a--plain.png"), int)
    for name in ("cmyk", "sixteen", "animated"):
        np.testing.assert_array_equal(np.asarray(Image.open(work / "out" / f"a--{name}.png"), int), plain)


def test_memory_is_not_taken_for_a_declared_size(work: Path) -> None:
    import resource

    png_of_size(work / "masks" / "declared.png", 30_000, 30_000)
    run(out="warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run("--overwrite").exit_code == 1
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 100 * 2**20  # decoded: 900


# --- mcltool translate ---


def translate(*args: str) -> Result:
    return CliRunner().invoke(cli, ["translate", *args, "--device", "cpu", "--precision", "fp32"])


def test_one_image_is_what_translate_dir_makes_of_it(work: Path) -> None:
    run()
    result = translate("masks/a.png", "photos/style.jpg", "new/one.png", "--save", "grid")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["new/one.grid.png", "new/one.png"]
    one, same = (np.asarray(Image.open(path), int) for path in ("new/one.png", "out/a.png"))
    np.testing.assert_allclose(one, same, atol=1)


@pytest.mark.parametrize(
    ("args", "code", "cause"),
    [
        (["masks/none.png", "photos/style.jpg", "one.png"], 1, "masks/none.png: no such file"),
        (["masks/a.png", "masks", "one.png"], 1, "masks: expected an image file, found a folder"),
        (["masks/a.png", "photos/style.jpg", "one.gif"], 2, ".gif: expected one of .png, .jpg, .webp, .avif"),
        (
            ["masks/a.png", "photos/style.jpg", "photos/style.jpg"],
            2,
            "photos/style.jpg: is one of the inputs",
        ),
        (["masks/a.png", "photos/style.jpg", "one.png", "--quality", "50"], 2, "PNG keeps every pixel"),
    ],
)
def test_one_image_that_cannot_be_made_is_one_line(
    work: Path, args: list[str], code: int, cause: str
) -> None:
    before = files(work / "photos")
    result = translate(*args)
    assert result.exit_code == code
    assert cause in result.output.splitlines()[-1]
    assert files(work / "photos") == before
    assert not Path("one.png").exists()


# --- the gallery ---


class Page(HTMLParser):
    """Links and images with their alternatives."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")
        if tag == "img":
            self.images.append(dict(attrs))


def test_the_gallery_links_every_result_and_fetches_nothing(work: Path) -> None:
    odd = os.fsdecode(b"<b>caf\xe9 & 100%?.png")
    make_condition(work / "masks" / odd)
    (work / "masks" / "broken<i>.png").touch()
    result = run("--gallery")
    assert "gallery: out/index.html" in result.output
    text = (work / "out" / "index.html").read_text()
    page = Page(text)
    linked = {
        os.fsdecode(unquote(link, errors="surrogateescape").encode(errors="surrogateescape"))
        for link in page.links
    }
    assert linked == {"a.png", "deep/b.png", odd}
    assert len(page.images) == 9
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/") for image in page.images)
    assert not re.search(r"""(src|href)=["']?https?:""", text)
    assert "<b>caf" not in text
    assert "<b>Condition</b> a.png" in text
    assert "<b>Exemplar</b> " in text
    assert "broken&lt;i&gt;.png" in text
    assert "not an image that can be read" in text
    assert 'name="viewport"' in text
