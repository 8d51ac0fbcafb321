"""Label maps of faces, in any of three numberings: read, trained on, and doubted where the parts lie wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from faces import CLASS, EDGES, MASKS, box_mask, make_root
from mcltool_celebahq import CelebAHQMaskPlugin, CelebAHQPartsPlugin, CelebAHQPlugin
from numpy.typing import NDArray
from PIL import Image

from mcltool import DataError, UsageError
from mcltool.cli.main import cli
from mcltool.core.config import DataConfig
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack

# As the network's and CoCosNet's own documentation number the parts.
NUMBERS = {
    "bisenet": {
        "skin": 1,
        "l_brow": 2,
        "r_brow": 3,
        "l_eye": 4,
        "r_eye": 5,
        "nose": 10,
        "u_lip": 12,
        "l_lip": 13,
    }
    | {"neck": 14, "cloth": 16, "hair": 17},
    "cocosnet": {
        "skin": 1,
        "hair": 2,
        "l_brow": 3,
        "r_brow": 4,
        "l_eye": 5,
        "r_eye": 6,
        "nose": 9,
        "u_lip": 10,
    }
    | {"l_lip": 12, "neck": 13, "cloth": 14},
    "standard": {
        "skin": 1,
        "nose": 2,
        "l_eye": 4,
        "r_eye": 5,
        "l_brow": 6,
        "r_brow": 7,
        "u_lip": 11,
        "l_lip": 12,
    }
    | {"hair": 13, "neck": 17, "cloth": 18},
}
PLACES = {
    "cloth": (56, 0, 64, 64), "neck": (48, 24, 58, 40), "skin": (12, 16, 52, 48), "hair": (2, 12, 16, 52),
    "l_brow": (20, 20, 22, 28), "r_brow": (20, 36, 22, 44), "l_eye": (25, 20, 29, 28), "r_eye": (25, 36, 29, 44),
    "nose": (30, 29, 37, 35), "u_lip": (41, 26, 43, 38), "l_lip": (43, 26, 46, 38),
}  # fmt: skip


def portrait(numbering: str) -> NDArray[np.uint8]:
    labels = np.zeros((64, 64), np.uint8)
    for part, box in PLACES.items():
        labels[box_mask(box) > 0] = NUMBERS[numbering][part]
    return labels


def plugin_of(labels: str = "") -> CelebAHQMaskPlugin:
    plugin = CelebAHQMaskPlugin()
    plugin.label_numbering = labels
    return plugin


@pytest.mark.parametrize("numbering", NUMBERS)
def test_each_numbering_is_read_as_the_data_sets_own_classes(numbering: str, tmp_path: Path) -> None:
    Image.fromarray(portrait(numbering)).save(tmp_path / "0.png")
    raster = plugin_of(numbering).read_condition([tmp_path / "0.png"]).raster
    np.testing.assert_array_equal(raster, portrait("standard"))
    assert raster is not None
    assert {CLASS[part] for part in PLACES} | {0} == set(np.unique(raster).tolist())


@pytest.mark.parametrize("numbering", ["bisenet", "cocosnet"])
def test_parts_that_lie_where_no_face_has_them_name_the_numbering(numbering: str, tmp_path: Path) -> None:
    Image.fromarray(portrait(numbering)).save(tmp_path / "0.png")
    plugin = plugin_of()
    assert f"numbered as {numbering}? --labels {numbering}" in plugin.doubt(
        plugin.read_condition([tmp_path / "0.png"])
    )
    plugin = plugin_of(numbering)
    assert plugin.doubt(plugin.read_condition([tmp_path / "0.png"])) == ""
    plugin = plugin_of("standard")
    assert plugin.doubt(plugin.read_condition([tmp_path / "0.png"])) == ""


@pytest.mark.parametrize("wrong", ["bisenet", "cocosnet"])
def test_a_numbering_that_was_named_wrongly_is_doubted_too(wrong: str, tmp_path: Path) -> None:
    Image.fromarray(portrait("standard")).save(tmp_path / "0.png")
    plugin = plugin_of(wrong)
    assert "numbered as standard? --labels standard" in plugin.doubt(
        plugin.read_condition([tmp_path / "0.png"])
    )


def map_root(root: Path, folder: str, numbering: str = "standard") -> Path:
    """Photos and label maps of three faces."""
    for place in ("CelebA-HQ-img", folder):
        (root / place).mkdir(parents=True)
    for number in (3, 10, 2994):
        Image.new("RGB", (64, 64)).save(root / "CelebA-HQ-img" / f"{number}.jpg")
        Image.fromarray(portrait(numbering)).save(root / folder / f"{number:05d}.png")
    (root / "val.txt").write_text("10")
    return root


@pytest.mark.parametrize("folder", ["CelebAMask-HQ-mask", "CelebAMask-HQ-mask-anno", "labels"])
def test_label_maps_take_the_place_of_part_masks(folder: str, tmp_path: Path) -> None:
    root = map_root(tmp_path, folder)
    samples = MASKS.index(root, "train")
    assert [sample.id for sample in samples] == ["3", "2994"]
    np.testing.assert_array_equal(MASKS.condition(samples[0], 0).raster, portrait("standard"))
    drawing = EDGES.condition(EDGES.index(root, "val")[0], 64).raster
    assert drawing is not None
    assert (drawing[40:47, 26:38] > 0).any()  # outlines of the lips


def test_cocosnets_label_maps_ask_for_their_numbering(tmp_path: Path) -> None:
    root = map_root(tmp_path, "CelebAMask-HQ-mask-anno/all_parts_except_glasses", "cocosnet")
    with pytest.raises(UsageError, match="CoCosNet's label maps: give --labels cocosnet"):
        MASKS.index(root, "train")
    plugin = plugin_of("cocosnet")
    sample = plugin.index(root, "val")[0]
    np.testing.assert_array_equal(plugin.condition(sample, 0).raster, portrait("standard"))


def test_a_photo_without_label_map_is_named(tmp_path: Path) -> None:
    root = map_root(tmp_path, "labels")
    (root / "labels" / "00003.png").unlink()
    with pytest.raises(UsageError, match=r"3\.jpg: no label map, expected .*labels/3\.png"):
        MASKS.index(root, "train")


def test_data_check_finds_another_numbering(tmp_path: Path) -> None:
    root = map_root(tmp_path, "labels", "bisenet")
    command = ["data", "check", "--plugin", "celebahq-mask", "--root", str(root)]
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, "numbered as bisenet? --labels bisenet" in result.stdout) == (1, True)
    assert CliRunner().invoke(cli, [*command, "--labels", "bisenet"]).exit_code == 0


@pytest.mark.parametrize("plugin", [CelebAHQPlugin, CelebAHQPartsPlugin])
def test_drawings_of_label_maps_need_their_numbering_named(
    plugin: type[CelebAHQPlugin | CelebAHQPartsPlugin], tmp_path: Path
) -> None:
    """A drawing does not show that hair was taken for a necklace."""
    map_root(tmp_path, "labels", "bisenet")
    made = plugin()
    with pytest.raises(
        UsageError, match=r"00003\.png: .* numbered as bisenet\? --labels bisenet .*; 2 of 2 label"
    ):
        made.index(tmp_path, "train")
    made.label_numbering = "bisenet"
    sample = made.index(tmp_path, "train")[0]
    standard = plugin().index(map_root(tmp_path / "standard", "labels"), "train")[0]
    expected = plugin().condition(standard, 64).raster
    np.testing.assert_array_equal(made.condition(sample, 64).raster, expected)


# --- drawings ---


def test_what_has_areas_for_lines_is_no_drawing(tmp_path: Path) -> None:
    """A photo, a mask and a drawing in uneven light; a bold drawing is one."""
    row = np.linspace(0, 255, 96).astype(np.uint8)
    photo = np.random.default_rng(0).normal(0, 8, (96, 96)) + np.where(row > 150, 220, 60)[:, None]
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.where(box_mask((20, 20, 60, 60), 96) > 0, 200, 20).astype(np.uint8)).save(
        tmp_path / "mask.png"
    )
    for name in ("photo", "mask"):
        with pytest.raises(
            DataError, match=rf"{name}\.png: expected a line drawing, found areas .* --condition edges"
        ):
            EDGES.read_condition([tmp_path / f"{name}.png"])
    bold = np.full((96, 96), 255, np.uint8)
    bold[20:24], bold[:, 40:44] = 0, 0
    Image.fromarray(bold).save(tmp_path / "bold.png")
    np.testing.assert_array_equal(EDGES.read_condition([tmp_path / "bold.png"]).raster, 255 - bold)


def test_a_photo_with_few_dark_parts_is_no_drawing(tmp_path: Path) -> None:
    """Most of it lies between its ground and what stands out; a soft pencil in uneven light does not."""
    y, x = np.mgrid[:96, :96]
    photo = np.full((96, 96), 235.0)
    photo[20:76, 30:66] = 160 + 10 * np.sin(x / 3)[20:76, 30:66]
    photo[40:43, 45:51] = 20
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "shirt.png")
    with pytest.raises(DataError, match=r"shirt\.png: expected a line drawing, found tones .* \(22% of it\)"):
        EDGES.read_condition([tmp_path / "shirt.png"])
    paper = 240 - 40 * ((x - 48) ** 2 + (y - 48) ** 2) / (2 * 48**2)
    pencil = 180 * np.exp(-((np.hypot(x - 48, y - 48) - 25) ** 2) / 4)
    Image.fromarray((paper - pencil).astype(np.uint8)).save(tmp_path / "pencil.png")
    lines = EDGES.read_condition([tmp_path / "pencil.png"]).raster
    assert lines is not None
    np.testing.assert_array_equal(np.abs(np.hypot(x - 48, y - 48) - 25)[lines > 0] < 2.5, True)
    assert 0.03 < (lines > 0).mean() < 0.1


def share(data: TrainingData | EvaluationData) -> float:
    return float(np.mean([float(data[n]["condition"][0].mean()) for n in range(6)]))


def test_held_out_drawings_have_lines_as_fine_as_those_trained_on(tmp_path: Path) -> None:
    """Those of the masks' own size, shrunk, would be a third thicker; from files as from a pack."""
    root = make_root(tmp_path / "faces")
    config = DataConfig(size=(32, 32), load_scale=1.25)
    drawn = EDGES.condition(EDGES.index(root, "val")[0], 32)
    expected = float(EDGES.render(drawn)[..., 0].mean())
    samples = {split: EDGES.index(root, split) for split in ("train", "val")}
    list(pack(EDGES, samples, tmp_path / "a.h5", PackOptions((40, 40), held_out=(32, 32))))
    packed = PackedDataset(EDGES, tmp_path / "a.h5")
    for plugin, val in ((EDGES, samples["val"]), (packed, packed.index(None, "val"))):
        held_out = EvaluationData(plugin, val, config)
        assert float(held_out[0]["condition"][0].mean()) == pytest.approx(expected)
    trained = TrainingData(EDGES, samples["train"], config, 0)
    assert share(trained) == pytest.approx(expected, rel=0.2)


def test_part_masks_to_translate_are_drawn_at_the_size_that_is_wanted(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    sample = EDGES.index(root, "val")[0]
    plugin = type(EDGES)()
    plugin.short_side = 32
    np.testing.assert_array_equal(
        plugin.read_condition(sample.condition).raster, EDGES.condition(sample, 32).raster
    )
