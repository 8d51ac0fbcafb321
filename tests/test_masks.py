"""Label maps as people have them: which number a pixel's class has, and what is refused. See docs/reliability.md."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcltool import DataError, read_labels
from mcltool.core.images import FORMATS

LABELS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def palette_image() -> Image.Image:
    image = Image.fromarray(LABELS).convert("P")
    image.putdata(LABELS.ravel().tolist())
    image.putpalette([value for colour in PALETTE for value in colour])
    return image


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(lambda: Image.fromarray(LABELS), id="8 bit"),
        pytest.param(lambda: Image.fromarray(LABELS.astype(np.uint16)), id="16 bit"),
        pytest.param(palette_image, id="palette"),
        pytest.param(lambda: Image.fromarray(np.array(PALETTE, np.uint8)[LABELS]), id="colours"),
        pytest.param(
            lambda: Image.fromarray(np.array(PALETTE, np.uint8)[LABELS]).convert("RGBA"), id="alpha"
        ),
    ],
)
def test_label_maps_give_class_indices_in_every_form(tmp_path: Path, image) -> None:  # type: ignore[no-untyped-def]
    image().save(tmp_path / "mask.png")
    labels = read_labels(tmp_path / "mask.png", 3, PALETTE)
    assert labels.dtype == np.uint8
    assert labels.flags.writeable  # as torch wants it
    np.testing.assert_array_equal(labels, LABELS)


def test_a_two_level_mask_is_classes_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(LABELS == 2).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 2), LABELS == 2)


@pytest.mark.parametrize(
    ("pixels", "palette", "cause"),
    [
        (np.array([[3]], np.uint8), PALETTE, r"label 3 is outside the classes 0\.\.2"),
        (np.array([[300]], np.uint16), PALETTE, r"label 300 is outside the classes 0\.\.2"),
        (np.array([[-1, 2]], np.int32), PALETTE, r"label -1 is outside the classes 0\.\.2"),
        (np.array([[0.5]], np.float32), PALETTE, "expected class indices, found fractions"),
        (
            np.array([[[0, 0, 254]]], np.uint8),
            PALETTE,
            r"colour \(0, 0, 254\) is not in the palette of the 3",
        ),
        (
            np.array([[[0, 0, 255]]], np.uint8),
            (),
            "expected class indices in one channel, found a colour image",
        ),
    ],
)
def test_a_label_outside_the_classes_is_refused(
    tmp_path: Path, pixels: np.ndarray, palette: tuple[tuple[int, int, int], ...], cause: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "mask.tif")
    with pytest.raises(DataError, match=cause):
        read_labels(tmp_path / "mask.tif", 3, palette)


# --- indexed files: colour, grey value or index ---


def indexed(indices: np.ndarray, palette: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([value for colour in palette for value in colour])
    return image


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_colours_decide_where_a_palette_was_put_in_another_order(
    order: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    where = np.argsort(order)  # the index that a class has in the file
    indexed(where[LABELS], [PALETTE[n] for n in order]).save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(read_labels(tmp_path / f"mask.{suffix}", 3, PALETTE), LABELS)


def test_of_two_classes_of_one_colour_the_index_decides_where_it_agrees(tmp_path: Path) -> None:
    palette = ((0, 0, 0), (9, 9, 9), (9, 9, 9))
    indexed(LABELS, list(palette)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, palette), LABELS)


def test_the_index_decides_under_foreign_colours(tmp_path: Path) -> None:
    """As labelme and mmseg write them, in VOC's colours; one is by chance the data set's own."""
    indexed(LABELS, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, PALETTE), LABELS)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_grey_palette_holds_the_numbers(suffix: str, tmp_path: Path) -> None:
    """As an optimiser makes of a grey file: its values are the palette, in any order."""
    greys = np.array([13, 90, 3])
    indexed(LABELS, [(g, g, g) for g in greys.tolist()]).save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(read_labels(tmp_path / f"mask.{suffix}", 151, PALETTE), greys[LABELS])


@pytest.mark.parametrize("ramp", [range(256), range(0, 256, 17), range(0, 256, 85)])
def test_a_grey_ramp_only_shows_the_index(ramp: range, tmp_path: Path) -> None:
    indexed(LABELS, [(g, g, g) for g in ramp]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3), LABELS)


def test_void_in_a_grey_palette_is_refused_as_in_a_grey_file(tmp_path: Path) -> None:
    indexed(LABELS, [(0, 0, 0), (1, 1, 1), (255, 255, 255)]).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"label 255 is outside the classes 0\.\.2"):
        read_labels(tmp_path / "mask.png", 3)


@pytest.mark.parametrize("greys", [(0, 255), (255, 0)])
def test_black_and_white_are_the_two_classes(greys: tuple[int, int], tmp_path: Path) -> None:
    mask = (LABELS == 2).astype(np.uint8)
    where = np.argsort(greys)
    indexed(where[mask], [(g, g, g) for g in greys]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 2), mask)


# --- values as they are stored ---


def png(path: Path, values: np.ndarray, bits: int) -> None:
    """A grey PNG of ``bits`` a pixel, written by hand; the width is a whole number of bytes."""
    packed = np.packbits(
        np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].reshape(len(values), -1), 1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], len(values), bits, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_few_bits_a_pixel_hold_the_numbers_as_they_are(bits: int, tmp_path: Path) -> None:
    values = (np.arange(64).reshape(4, 16) % min(2**bits, 19)).astype(np.uint8)
    png(tmp_path / "mask.png", values, bits)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 19), values)


def test_a_tiff_of_four_bits_holds_the_numbers_as_they_are(tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(2, 8)
    fields = [(256, 8), (257, 2), (258, 4), (259, 1), (262, 1), (273, 8), (278, 2), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    pixels = (values[:, ::2] << 4 | values[:, 1::2]).tobytes()
    header = b"II*\0" + struct.pack("<I", 16)
    (tmp_path / "mask.tif").write_bytes(header + pixels + struct.pack("<H", len(fields)) + entries + bytes(4))
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif", 19), values)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_types_hold_numbers_too(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(dtype)).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif", 3), LABELS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_three_equal_channels_are_numbers(mode: str, tmp_path: Path) -> None:
    Image.fromarray(LABELS).convert(mode).save(tmp_path / "mask.png")
    for palette in ((), PALETTE):
        np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, palette), LABELS)


def test_grey_colours_of_the_palette_are_colours(tmp_path: Path) -> None:
    palette = ((0, 0, 0), (2, 2, 2), (1, 1, 1))
    Image.fromarray(np.array(palette, np.uint8)[LABELS]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, palette), LABELS)


@pytest.mark.parametrize(
    ("save", "form"),
    [
        (lambda image, path: image.save(path, "JPEG", quality=100), "JPEG"),
        (lambda image, path: image.convert("RGB").save(path, "WEBP"), "lossy WebP"),
        (lambda image, path: image.convert("RGBA").save(path, "WEBP", quality=90), "lossy WebP"),
        (lambda image, path: image.convert("RGB").save(path, "AVIF"), "AVIF"),
        (lambda image, path: image.convert("RGB").save(path, "JPEG2000"), "JPEG2000"),
        (lambda image, path: image.save(path, "TIFF", compression="jpeg"), "JPEG in a TIFF"),
    ],
)
def test_compression_with_loss_is_refused_whatever_the_file_is_called(
    save, form: str, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    image = Image.fromarray(np.tile(LABELS, (16, 16)))
    if form in ("AVIF", "JPEG2000") and form not in FORMATS:
        pytest.skip(f"this Pillow has no {form}")
    save(image, tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png: {form} changes class numbers; save label maps as PNG"):
        read_labels(tmp_path / "mask.png", 256)


@pytest.mark.parametrize("extra", [{}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_webp_without_loss_is_read(extra: dict[str, bytes], tmp_path: Path) -> None:
    colours = np.array(PALETTE, np.uint8)[LABELS]
    Image.fromarray(colours).save(tmp_path / "mask.webp", lossless=True, **extra)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.webp", 3, PALETTE), LABELS)


# --- other numberings and encodings ---


def test_numbers_of_another_numbering_are_translated(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 255]], np.uint8)
    Image.fromarray(stored).save(tmp_path / "mask.png")
    labels = read_labels(tmp_path / "mask.png", 3, PALETTE, {0: 1, 1: 2, 255: 0})
    np.testing.assert_array_equal(labels, [[1, 2, 0]])
    with pytest.raises(DataError, match=r"label 255 is none of this numbering"):
        read_labels(tmp_path / "mask.png", 3, PALETTE, {0: 1, 1: 2})


def test_colours_are_never_renumbered(tmp_path: Path) -> None:
    Image.fromarray(np.array(PALETTE, np.uint8)[LABELS]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, PALETTE, {0: 2, 1: 0}), LABELS)


def test_a_label_map_is_turned_as_its_own_exif_data_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LABELS).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3), np.rot90(LABELS, -1))
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", 3, upright=False), LABELS)
