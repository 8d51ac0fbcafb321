"""Photos as people have them: every usual form is read, what is wrong is one clear line."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mcltool import DataError, read_labels, read_photo
from mcltool.core.images import photo_orientation

RED, WHITE = (255, 0, 0), (255, 255, 255)


def half_red(size: tuple[int, int] = (8, 4)) -> Image.Image:
    """Left half red, right half white."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


# Where the EXIF standard says that the first stored row and column are to be seen.
CORNERS = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
CORNERS |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}


@pytest.mark.parametrize("orientation", CORNERS)
def test_photos_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    stored = Image.new("RGB", (8, 4), WHITE)
    stored.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    photo = read_photo(tmp_path / "photo.png")

    where = CORNERS[orientation]
    row_comes_first = where.split()[0] in ("top", "bottom")
    assert photo.shape == ((4, 8, 3) if row_comes_first else (8, 4, 3))
    corner = (-1 if "bottom" in where else 0, -1 if "right" in where else 0)
    assert tuple(photo[corner]) == RED
    assert (photo.reshape(-1, 3) == WHITE).all(axis=1).sum() == 31


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "CMYK"])
def test_every_colour_mode_gives_the_same_photo(tmp_path: Path, mode: str) -> None:
    half_red().convert(mode).save(tmp_path / "photo.tif")
    photo = read_photo(tmp_path / "photo.tif")
    assert (photo.dtype, photo.shape) == (np.uint8, (4, 8, 3))
    np.testing.assert_array_equal(photo, np.asarray(half_red()))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    Image.new("L", (3, 2), 255).convert(mode).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png"), np.full((2, 3, 3), 255))


def test_transparency_shows_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png"), np.full((2, 2, 3), 255))


def test_16_bit_photos_are_scaled_to_8(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "photo.png")
    np.testing.assert_allclose(read_photo(tmp_path / "photo.png")[0, :, 0], [0, 127.5, 255], atol=0.5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_a_deep_file_do_not_come_out_black(bits: int, dtype: type, tmp_path: Path) -> None:
    top = 2**bits - 1
    Image.fromarray(np.array([[0, top // 3, top]], dtype)).save(tmp_path / "photo.tif")
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.tif")[0, :, 0], [0, 85, 255])


@pytest.mark.parametrize("alpha", [False, True])
def test_12_bits_in_16_bit_colours_do_not_come_out_black(alpha: bool, tmp_path: Path) -> None:
    values = np.array([[[0, 1365, 2730], [4095, 0, 0]]], np.uint16)  # blue, green, red
    stored = np.dstack([values, np.full((1, 2), 65535, np.uint16)]) if alpha else values
    cv2.imwrite(str(tmp_path / "photo.png"), stored)
    assert read_photo(tmp_path / "photo.png")[0].tolist() == [[170, 85, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (np.array([[-1, 5]], np.int32), "pixels from -1 to 5, expected 0 to 65535"),
        (np.array([[0, 70000]], np.int32), "pixels from 0 to 70000, expected 0 to 65535"),
        (np.array([[-1, 1]], np.float32), "float pixels from -1 to 1, expected 0 to 1 or 0 to 255"),
        (np.array([[0, 1.5]], np.float32), r"float pixels from 0 to 1\.5, expected 0 to 1"),
        (np.array([[0, 4000]], np.float32), "float pixels from 0 to 4000, expected 0 to 1"),
        (np.array([[0, np.nan]], np.float32), "float pixels from nan to nan"),
    ],
)
def test_numbers_that_no_photo_has_are_refused(values: np.ndarray, cause: str, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "photo.tif")
    with pytest.raises(DataError, match=rf"photo\.tif: {cause}"):
        read_photo(tmp_path / "photo.tif")


BROKEN_EXIF = {
    "garbage": b"Exif\0\0garbage garbage",
    "no header": b"\0\x08\0\x02\x01\x12\0\x03",
    "cut off": b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01",
    "empty": b"Exif\0\0",
    "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0\x36\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("kind", BROKEN_EXIF)
def test_broken_exif_data_do_not_make_sound_pixels_damaged(kind: str, suffix: str, tmp_path: Path) -> None:
    half_red((64, 32)).save(tmp_path / f"photo.{suffix}", exif=BROKEN_EXIF[kind], quality=95)
    photo = read_photo(tmp_path / f"photo.{suffix}")
    assert photo.shape == (32, 64, 3)
    np.testing.assert_allclose(photo[16, [8, 56]], [RED, WHITE], atol=8)


def test_exif_text_of_old_tools_that_is_no_number_is_passed_over(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n      8\nno hexadecimal digits\n")
    half_red().save(tmp_path / "photo.png", pnginfo=text)
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png"), np.asarray(half_red()))


def test_a_cut_off_photo_with_exif_data_is_still_refused(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    noise.save(tmp_path / "photo.png", exif=BROKEN_EXIF["garbage"])
    whole = (tmp_path / "photo.png").read_bytes()
    (tmp_path / "photo.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or cut-off image"):
        read_photo(tmp_path / "photo.png")


def test_the_orientation_can_be_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    half_red().save(tmp_path / "photo.png", exif=exif)
    assert photo_orientation(tmp_path / "photo.png") == 6
    np.testing.assert_array_equal(read_photo(tmp_path / "photo.png", upright=False), np.asarray(half_red()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colours_are_scaled_not_cut_off(tmp_path: Path, suffix: str, alpha: bool) -> None:
    """255 v / 65535 rounds up where the upper byte alone would round down."""
    values = np.array([[[0, 128, 129], [383, 640, 65535], [0xFE80, 0x80FF, 257]]], np.uint16)
    stored = values[..., ::-1]  # OpenCV's order
    if alpha:
        stored = np.dstack([stored, np.full(values.shape[:2], 65535, np.uint16)])
    path = tmp_path / f"photo.{suffix}"
    cv2.imwrite(str(path), np.ascontiguousarray(stored))
    expected = np.array([[round(255 * int(v) / 65535) for v in pixel] for pixel in values[0]])
    np.testing.assert_array_equal(read_photo(path)[0], expected)


def test_a_png_that_promises_more_than_it_holds_takes_no_memory_for_it(tmp_path: Path) -> None:
    """Pillow stops where the picture is complete; OpenCV, which reads 16-bit colours, would take 4 GB first."""
    cv2.imwrite(str(tmp_path / "sound.png"), np.full((4, 4, 3), 65535, np.uint16))
    data = (tmp_path / "sound.png").read_bytes()
    length = data.index(b"IDAT") - 4
    (tmp_path / "photo.png").write_bytes(data[:length] + b"\xff\x80\0\0" + data[length + 4 :])
    read_photo(tmp_path / "sound.png")
    with pytest.raises(DataError, match="a part of it is longer than the file"):
        read_photo(tmp_path / "photo.png")


def test_float_pictures_are_taken_from_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "photo.tif")
    np.testing.assert_allclose(read_photo(tmp_path / "photo.tif")[0, :, 0], [0, 127.5, 255], atol=0.51)


def test_what_is_no_file_is_said_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, cause in (
        ("pipe", "found a pipe"),
        ("dangling", "a link to what is not there"),
        ("loop", "Too many levels of symbolic links"),
    ):
        with pytest.raises(DataError, match=cause):
            read_photo(tmp_path / f"{name}.png")


def test_a_jpeg_may_be_decoded_smaller_but_not_below_what_is_asked(tmp_path: Path) -> None:
    half_red((1024, 768)).save(tmp_path / "photo.jpg")
    photo = read_photo(tmp_path / "photo.jpg", short_side=100)
    assert photo.shape[0] >= 100
    assert photo.shape[0] < 768
    assert abs(photo.shape[1] / photo.shape[0] - 4 / 3) < 0.02


def write_text(path: Path) -> None:
    path.write_text("not an image")


def write_half(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: None, "no such file"),
        (Path.touch, "not an image"),
        (write_text, "not an image"),
        (write_half, "damaged or cut-off image"),
        (Path.mkdir, "expected an image file, found a folder"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_cannot_be_read_is_one_line_that_names_it(
    tmp_path: Path, make, cause: str, suffix: str
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"photo{suffix}"
    make(path)
    for read in (read_photo, lambda path: read_labels(path, 10)):
        if make is write_half and suffix == ".jpg" and read is not read_photo:
            cause = "JPEG changes class numbers"
        with pytest.raises(DataError, match=cause) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_a_picture_too_large_to_be_meant_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("L", (1, 1)).save(path)
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + path.read_bytes()[24:29]
    path.write_bytes(
        path.read_bytes()[:12] + header + struct.pack(">I", crc32(header)) + path.read_bytes()[33:]
    )
    with pytest.raises(DataError, match=r"bomb\.png: "):
        read_photo(path)
