"""Poses as other tools write them, poses of another scale or resolution, and roots of other projects."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from mcltool_deepfashion import DeepFashionPlugin
from posing import (
    BODY_25,
    COCO_17,
    PERSON,
    add_photo,
    coco,
    people,
    read,
    values,
    without,
    write_json,
    write_text,
)

from mcltool import Condition, DataError
from mcltool.cli.main import cli
from mcltool.poses.pose import NAMES

NECK_BETWEEN = PERSON.copy()
NECK_BETWEEN[1] = (PERSON[2] + PERSON[5]) / 2
"""What formats without a neck give."""
HALPE_26 = [*COCO_17, "head", "neck", "hip", "toe", "toe", "toe", "toe", "heel", "heel"]


def found(folder: Path, canvas: tuple[int, int] | None = None) -> dict[str, Condition | str]:
    """Every condition of a folder by its id, or the error where it cannot be read."""
    plugin, conditions = DeepFashionPlugin(), {}
    plugin.canvas = canvas
    for entry in plugin.conditions(folder):
        try:
            conditions[entry.id] = plugin.read_part(entry.files, entry.part)
        except DataError as error:
            conditions[entry.id] = str(error)
    return conditions


def equal(condition: Condition | str, joints: np.ndarray, size: tuple[int, int], atol: float = 1e-4) -> None:
    assert isinstance(condition, Condition), condition
    assert condition.size == size
    np.testing.assert_allclose(condition.points, joints, atol=atol)


def rows(joints: np.ndarray, *more: float) -> list[list[float]]:
    """A row x, y, and more a joint; -1 where it is absent."""
    return [[-1, -1, *(0 for _ in more)] if np.isnan(x) else [float(x), float(y), *more] for x, y in joints]


# Formats


def test_openpose_before_1_2_called_joints_pose_keypoints(tmp_path: Path) -> None:
    document = {"version": 1.0, "people": [{"pose_keypoints": values(NAMES, PERSON)}]}
    np.testing.assert_array_equal(read(write_json(tmp_path / "a_keypoints.json", document)).points, PERSON)


def test_lists_of_results_are_poses_by_image(tmp_path: Path) -> None:
    def result(image: str | int, joints: np.ndarray) -> dict[str, Any]:
        return {"image_id": image, "category_id": 1, "keypoints": values(COCO_17, joints), "score": 2.5}

    entries = [
        result("1.jpg", PERSON),
        result("a/2.png", PERSON / 2),
        result("1.jpg", PERSON + 9),
        result(139, PERSON),
    ]
    write_json(tmp_path / "alphapose-results.json", entries)
    conditions = found(tmp_path)
    name = "alphapose-results"
    assert list(conditions) == [f"{name}/1_0", f"{name}/a/2", f"{name}/1_2", f"{name}/139"]
    equal(conditions[f"{name}/1_0"], NECK_BETWEEN, (256, 256))
    equal(conditions[f"{name}/1_2"], NECK_BETWEEN + 9, (256, 256))
    equal(conditions[f"{name}/a/2"], NECK_BETWEEN / 2, (256, 256))


def test_halpes_26_joints_have_a_neck(tmp_path: Path) -> None:
    entry = {"image_id": "1.jpg", "keypoints": values(HALPE_26, PERSON), "score": 1}
    write_json(tmp_path / "r.json", [entry])
    equal(found(tmp_path)["r/1"], PERSON, (256, 256))


@pytest.mark.parametrize(
    "person", [{"bodies": [{"joints": values(NAMES, PERSON)}]}, people(values(NAMES, PERSON))]
)
def test_alphapose_by_image(person: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "all.json", {"1.jpg": person, "2.jpg": {"version": "AlphaPose v0.3", "bodies": []}})
    write_json(tmp_path / "one.json", person)
    conditions = found(tmp_path)
    assert list(conditions) == ["all/1", "all/2", "one"]
    equal(conditions["all/1"], PERSON, (256, 256))
    assert conditions["all/2"] == f"{tmp_path}/all.json: picture 2.jpg: no person in it"
    equal(conditions["one"], PERSON, (256, 256))


@pytest.mark.parametrize("wrapped", [False, True])
def test_mmposes_people_are_of_one_picture(wrapped: bool, tmp_path: Path) -> None:
    joints = rows(PERSON[[NAMES.index(name) for name in COCO_17]])
    two = [
        {"keypoints": joints, "keypoint_scores": [0.4] * 17},
        {"keypoints": joints, "keypoint_scores": [0.9] * 16 + [0.0]},
    ]
    document = {"meta_info": {}, "instance_info": two} if wrapped else two
    equal(read(write_json(tmp_path / "a.json", document)), NECK_BETWEEN, (256, 256))


def test_dresscodes_joints_lie_on_384_x_512(tmp_path: Path) -> None:
    joints = without("left ear", "nose") * 4
    table = [[*row, n] for n, row in enumerate(rows(joints, 0.9))]
    write_json(tmp_path / "1_2.json", {"keypoints": table})
    write_json(tmp_path / "2_2.json", {"keypoints": table[::-1]})  # the last number says which joint it is
    conditions = found(tmp_path)
    equal(conditions["1_2"], joints, (512, 384))
    equal(conditions["2_2"], joints, (512, 384))
    equal(found(tmp_path, (1024, 768))["1_2"], joints, (1024, 768))


@pytest.mark.parametrize("nested", [False, True])
def test_editors_documents_say_their_canvas(nested: bool, tmp_path: Path) -> None:
    document = {"width": 80, "height": 100, "keypoints": [rows(PERSON)] if nested else rows(PERSON)}
    equal(read(write_json(tmp_path / "a.json", document)), PERSON, (100, 80))


MIDDLE = {17: (COCO_17, NECK_BETWEEN), 18: (NAMES, PERSON), 25: (BODY_25, PERSON)}


@pytest.mark.parametrize("joints", MIDDLE)
@pytest.mark.parametrize("form", ["people", "flat", "rows", "people's rows", "rows alone"])
def test_any_number_of_joints_in_any_form(form: str, joints: int, tmp_path: Path) -> None:
    order, person = MIDDLE[joints]
    flat = values(order, PERSON)
    table = [flat[start : start + 3] for start in range(0, len(flat), 3)]
    smaller = [[x / 2, y / 2, score / 2] for x, y, score in table]
    document: Any = {
        "people": people([], flat),
        "flat": {"keypoints": flat},
        "rows": {"keypoints": table},
        "people's rows": {"keypoints": [smaller, table]},
        "rows alone": table,
    }[form]
    equal(read(write_json(tmp_path / "a.json", document)), person, (256, 256))


def test_editors_put_people_one_after_the_other(tmp_path: Path) -> None:
    two = [*rows(without("nose") / 2), *rows(PERSON)]
    document = {"width": 80, "height": 100, "keypoints": two}
    equal(read(write_json(tmp_path / "a.json", document)), PERSON, (100, 80))


def test_a_person_of_whom_only_hands_were_found_is_passed_over(tmp_path: Path) -> None:
    hands = {"pose_keypoints_2d": None, "hand_left_keypoints_2d": [1, 2, 1]}
    document = people(values(NAMES, PERSON))
    document["people"].insert(0, hands)
    equal(read(write_json(tmp_path / "a.json", document)), PERSON, (256, 256))


def test_comfyui_writes_a_list_of_documents(tmp_path: Path) -> None:
    shares = PERSON / [80, 100]
    frame = people(values(NAMES, shares, 1.0)) | {"canvas_width": 80, "canvas_height": 100}
    empty = {"people": [], "canvas_width": 80, "canvas_height": 100}
    write_json(tmp_path / "one.json", [frame])
    write_json(tmp_path / "video.json", [frame, empty, frame])
    conditions = found(tmp_path)
    assert list(conditions) == ["one", "video/0", "video/1", "video/2"]
    equal(conditions["one"], PERSON, (100, 80))
    equal(conditions["video/2"], PERSON, (100, 80))
    assert conditions["video/1"] == f"{tmp_path}/video.json: picture 1: no person in it"


def test_a_coco_file_may_be_called_like_openposes(tmp_path: Path) -> None:
    write_json(tmp_path / "person_keypoints.json", coco({"1.jpg": [PERSON, PERSON / 2], "2.jpg": PERSON}))
    write_json(tmp_path / "b_keypoints.json", people(values(NAMES, PERSON)))
    conditions = found(tmp_path)
    name = "person_keypoints"
    assert list(conditions) == ["b", f"{name}/1_11", f"{name}/1_12", f"{name}/2"]
    equal(conditions[f"{name}/1_12"], NECK_BETWEEN / 2, (100, 80))


# PATN


def patn(path: Path, poses: dict[str, np.ndarray]) -> Path:
    """PATN's table: whole numbers, rows of y first."""
    lines = ["name:keypoints_y:keypoints_x"]
    for name, joints in poses.items():
        x, y = np.nan_to_num(joints, nan=-1).astype(int).T.tolist()
        lines.append(f"{name}: {y}: {x}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("scale", "size"), [(1, (128, 64)), (2, (256, 176)), (2.5, (256, 256))])
def test_patns_table_has_y_first_and_the_canvas_that_holds_all(
    scale: float, size: tuple[int, int], tmp_path: Path
) -> None:
    joints = (without("nose", "left wrist") * scale * [0.9, 1] + [30 * (scale > 2), 0]).round()
    patn(
        tmp_path / "fasion-resize-annotation-test.csv",
        {"a_1front.jpg": joints, "b_2side.jpg": (joints / 2).round()},
    )
    (tmp_path / "fasion-resize-pairs-test.csv").write_text("from,to\na_1front.jpg,b_2side.jpg\n")
    conditions = found(tmp_path)
    assert list(conditions) == [f"fasion-resize-annotation-test/{name}" for name in ("a_1front", "b_2side")]
    equal(conditions["fasion-resize-annotation-test/a_1front"], joints, size)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("a.jpg: [1, 2]: [3, 4]", "2 joints, expected 18"),
        ("a.jpg: [1, 2]", "expected NAME: [18 numbers y]: [18 numbers x]"),
        ("a.jpg: [1, 'x']: [3, 4]", "expected NAME: [18 numbers y]: [18 numbers x]"),
    ],
)
def test_a_broken_line_of_patns_is_one_failure(line: str, cause: str, tmp_path: Path) -> None:
    path = patn(tmp_path / "t.csv", {"b.jpg": PERSON})
    path.write_text(path.read_text() + line + "\n")
    conditions = found(tmp_path)
    assert isinstance(conditions["t/b"], Condition)
    assert str(next(c for name, c in conditions.items() if name != "t/b")).endswith(cause)


# Scales and resolutions


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
def test_shares_of_a_known_canvas_become_pixels(low: int, high: int, tmp_path: Path) -> None:
    joints = without("left ear")
    shares = low + joints / [80, 100] * (high - low)
    flat = values(NAMES, shares)
    flat[-3:] = [low, low, 0]  # OpenPose moves absent joints, too
    file = write_json(tmp_path / "a_keypoints.json", people(flat))
    error = found(tmp_path)["a"]
    assert (
        error
        == f"{file}: its joints go from {low} to 1, and the file does not say of how many pixels: give --canvas HxW"
    )
    equal(found(tmp_path, (100, 80))["a"], joints, (100, 80))
    write_json(file, people(flat) | {"canvas_width": 80, "canvas_height": 100})
    equal(found(tmp_path)["a"], joints, (100, 80))


@pytest.mark.parametrize("lowest", [-0.3, -1])
def test_shares_that_may_be_of_two_scales_are_refused(lowest: float, tmp_path: Path) -> None:
    """A joint outside of the picture or a person below its middle; joints that are absent at (-1, -1)."""
    flat = values(NAMES, PERSON / 100)
    flat[:3] = [lowest, lowest, 0.9]
    write_json(tmp_path / "a.json", people(flat) | {"canvas_width": 80, "canvas_height": 100})
    assert "may go from 0 to 1 or from -1 to 1: save them in pixels" in str(found(tmp_path)["a"])


@pytest.mark.parametrize("place", [(0, 0), (-1, -1)])
def test_a_joint_at_the_corner_is_absent_whatever_its_score(place: tuple[int, int], tmp_path: Path) -> None:
    joints = PERSON.copy()
    joints[[4, 9]] = place
    away = without("right wrist", "right knee")
    table = [[*row, n] for n, row in enumerate(rows(joints, 0.9))]
    np.testing.assert_array_equal(
        read(write_json(tmp_path / "a.json", people(values(NAMES, joints)))).points, away
    )
    np.testing.assert_array_equal(read(*write_text(tmp_path / "b", joints)).points, away)
    np.testing.assert_array_equal(read(write_json(tmp_path / "c.json", {"keypoints": table})).points, away)
    coco_away = away.copy()
    coco_away[1] = (away[2] + away[5]) / 2
    np.testing.assert_array_equal(
        read(write_json(tmp_path / "d.json", coco({"x.jpg": joints}))).points, coco_away
    )


def test_poses_of_a_larger_picture_are_refused_with_the_way_out(tmp_path: Path) -> None:
    large = PERSON * [7.5, 11]
    write_json(tmp_path / "a.json", people(values(NAMES, large)))
    write_json(tmp_path / "b.json", people(values(NAMES, large)) | {"canvas_width": 80, "canvas_height": 100})
    write_text(tmp_path / "c", large)
    write_json(tmp_path / "d.json", {"keypoints": rows(large, 1, 1)})
    errors = found(tmp_path)
    assert errors["a"] == (
        f"{tmp_path}/a.json: 18 of 18 joints lie outside the usual canvas, 256 x 256 pixels; --canvas HxW says in how "
        "large a picture they were found"
    )
    assert "18 of 18 joints lie outside the canvas in the file, 80 x 100 pixels" in str(errors["b"])
    assert "joints lie outside its format's canvas, 384 x 512 pixels" in str(errors["d"])
    for name in ("a", "c", "d"):
        equal(found(tmp_path, (1101, 750))[name], large, (1101, 750))
    assert "18 of 18 joints lie outside --canvas, 80 x 100 pixels" in str(found(tmp_path, (100, 80))["c"])


def test_poses_of_a_smaller_picture_are_doubted(tmp_path: Path) -> None:
    for n in range(6):
        add_photo(tmp_path, f"id_{n}/01_1", (256, 256))
        write_json(tmp_path / "pose" / f"id_{n}/01_1_keypoints.json", people(values(NAMES, PERSON)))
    command = ["data", "check", "--plugin", "deepfashion", "--root", str(tmp_path)]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert (
        "5 of 5 samples: all joints lie in the upper left quarter of the picture: --canvas HxW"
        in result.output
    )
    assert CliRunner().invoke(cli, [*command, "--canvas", "110x80"]).exit_code == 0


def test_a_person_whose_legs_are_out_of_the_picture_is_a_pose(tmp_path: Path) -> None:
    joints = PERSON * [3, 5]
    joints[:, 1] += 10
    assert (joints[:, 1] > 256).sum() == 8
    equal(read(write_json(tmp_path / "a.json", people(values(NAMES, joints)))), joints, (256, 256))


def test_a_pose_within_a_pixel_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", people(values(NAMES, PERSON / 200 + 30)))
    assert (
        found(tmp_path)["a"]
        == f"{tmp_path}/a.json: all joints lie within one pixel, expected a person's in pixels"
    )


# Training


def test_joints_of_the_photo_before_it_was_shrunk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = DeepFashionPlugin()
    add_photo(tmp_path, "a/1_x", (100, 100))
    write_json(tmp_path / "pose/a/1_x.json", people(values(NAMES, PERSON * [7.5, 11])))
    sample = plugin.index(tmp_path, "train")[0]
    with pytest.raises(
        DataError, match=r"18 of 18 joints lie outside its photo, 100 x 100 pixels; --canvas HxW"
    ):
        plugin.condition(sample, 64)
    plugin.canvas = (1100, 750)
    with caplog.at_level(logging.INFO, "mcltool"):
        plugin.index(tmp_path, "train")
    assert (
        "photos of 100 x 100 pixels, joints on a canvas of 750 x 1100: taken for photos that were stretched"
        in caplog.text
    )
    equal(plugin.condition(sample, 64), PERSON, (100, 100))


def test_patns_root(tmp_path: Path) -> None:
    names = [
        f"fashionWOMENDressesid{n:08d}{view}"
        for n in range(4)
        for view in ("01_1front", "01_2side", "02_1front")
    ]
    for name in names:
        add_photo(tmp_path, f"train/{name}", (256, 176))
    patn(
        tmp_path / "fasion-resize-annotation-train.csv",
        {f"{name}.jpg": (PERSON * 2).round() for name in names},
    )
    plugin = DeepFashionPlugin()
    samples = [*plugin.index(tmp_path, "train"), *plugin.index(tmp_path, "val")]
    assert sorted(sample.id for sample in samples) == sorted(f"train/{name}" for name in names)
    groups = {sample.group for sample in samples}
    assert len(groups) == 8
    assert {sample.group for sample in samples if "00010" in sample.id} == {
        f"train/fashionWOMENDressesid00000001{item}" for item in ("01", "02")
    }
    equal(plugin.condition(samples[0], 64), PERSON * 2, (256, 176))


def test_dresscodes_root(tmp_path: Path) -> None:
    for n in range(3):
        add_photo(tmp_path, f"00000{n}_0", (1024, 768))
        write_json(
            tmp_path / f"pose/00000{n}_2.json", {"keypoints": [[*row, 0] for row in rows(PERSON * 4, 1)]}
        )
    plugin = DeepFashionPlugin()
    samples = [*plugin.index(tmp_path, "train"), *plugin.index(tmp_path, "val")]
    assert len(samples) == 3
    equal(plugin.condition(samples[0], 64), PERSON * 4, (512, 384))


def test_results_name_photos_without_their_folders(tmp_path: Path) -> None:
    names = ["a/id_1/01_x", "b/id_2/02_x"]
    for name in names:
        add_photo(tmp_path, name)
    entries = [
        {"image_id": f"{name[-4:]}.jpg", "keypoints": values(COCO_17, PERSON + n)}
        for n, name in enumerate(names)
    ]
    write_json(tmp_path / "alphapose-results.json", entries)
    plugin = DeepFashionPlugin()
    samples = {s.id: s for split in ("train", "val") for s in plugin.index(tmp_path, split)}
    assert sorted(samples) == names
    equal(plugin.condition(samples[names[1]], 64), NECK_BETWEEN + 1, (100, 80))
