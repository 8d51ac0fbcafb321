"""Poses in files of every format, and files that are none: see mcltool.poses.pose and .coco."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcltool_deepfashion import DeepFashionPlugin
from posing import BODY_25, PERSON, PLUGIN, coco, people, read, values, without, write_json, write_text

from mcltool import DataError
from mcltool.poses.pose import NAMES


def test_openpose_text_is_read_by_its_row_numbers(tmp_path: Path) -> None:
    joints = without("right wrist", "left ear")
    condition = read(*write_text(tmp_path / "a", joints))
    np.testing.assert_array_equal(condition.points, joints)
    assert condition.size == (256, 256)


@pytest.mark.parametrize("order", [list(NAMES), BODY_25], ids=["BODY_18", "BODY_25"])
def test_openpose_json_is_read_in_both_layouts(order: list[str], tmp_path: Path) -> None:
    joints = without("right knee", "nose")
    condition = read(write_json(tmp_path / "a_keypoints.json", people(values(order, joints))))
    np.testing.assert_array_equal(condition.points, joints)


def test_coco_keypoints_get_a_neck_halfway_between_the_shoulders(tmp_path: Path) -> None:
    joints = without("left wrist")
    condition = read(write_json(tmp_path / "a.json", coco({"x.jpg": joints})))
    joints[1] = (joints[2] + joints[5]) / 2
    np.testing.assert_array_equal(condition.points, joints)
    assert condition.size == (100, 80)


def test_without_a_shoulder_there_is_no_neck(tmp_path: Path) -> None:
    condition = read(write_json(tmp_path / "a.json", coco({"x.jpg": without("left shoulder")})))
    assert np.isnan(condition.points[[1, 5]]).all()
    assert not np.isnan(condition.points[2]).any()


def test_of_several_people_the_fullest_is_read_then_the_surest(tmp_path: Path) -> None:
    fewer, other = without("nose"), PERSON + 3
    first = read(*write_text(tmp_path / "text", fewer, other, scores=(30.0, 5.0)))
    np.testing.assert_array_equal(first.points, other)
    second = read(*write_text(tmp_path / "text2", PERSON, other, scores=(5.0, 6.0)))
    np.testing.assert_array_equal(second.points, other)
    poses = values(NAMES, fewer, 0.9), values(NAMES, other, 0.3), values(NAMES, PERSON, 0.2), []
    third = read(write_json(tmp_path / "a.json", people(*poses)))
    np.testing.assert_array_equal(third.points, other)


def test_the_canvas_is_the_files_then_the_users_then_the_benchmarks(tmp_path: Path) -> None:
    plugin = DeepFashionPlugin()
    text = write_text(tmp_path / "a", PERSON)
    plain = [write_json(tmp_path / "b.json", people(values(NAMES, PERSON)))]
    edited = [
        write_json(
            tmp_path / "c.json", people(values(NAMES, PERSON)) | {"canvas_width": 90, "canvas_height": 120}
        )
    ]
    own = [write_json(tmp_path / "d.json", coco({"x.jpg": PERSON}))]
    silent = [write_json(tmp_path / "e.json", coco({"x.jpg": PERSON}, None))]
    sizes = [plugin.read_condition(files).size for files in (text, plain, edited, own, silent)]
    assert sizes == [(256, 256), (256, 256), (120, 90), (100, 80), (256, 256)]
    plugin.canvas = (1101, 750)
    plugin = pickle.loads(pickle.dumps(plugin))
    sizes = [plugin.read_condition(files).size for files in (text, plain, edited, own, silent)]
    assert sizes == [(1101, 750), (1101, 750), (120, 90), (100, 80), (1101, 750)]


def test_joints_outside_the_canvas_are_kept(tmp_path: Path) -> None:
    joints = PERSON * [3, 1]
    joints[:8, 1] = -9
    np.testing.assert_array_equal(read(*write_text(tmp_path / "a", joints)).points, joints)


NOBODY = np.full((18, 2), np.nan)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[1", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("\xff\xfe", "not valid JSON"),
        ([], "expected a list of poses, found an empty one"),
        ([3], "expected a list of poses"),
        (3, "expected a JSON object or list of poses"),
        ({}, r"expected people \(OpenPose\), keypoints, or annotations"),
        ({"annotations": 3}, "or annotations and images"),
        ({"people": 3}, "expected people to be a list"),
        (people(), "no person in it"),
        (people([]), "no person in it"),
        (people([0.0] * 75), "no person in it"),
        (people([1.0] * 57), r"is 57 numbers, expected 51 \(17 joints\), 54 \(18\) or 75"),
        ({"people": [{}]}, "pose_keypoints_2d is no list"),
        ({"people": ["a"]}, "pose_keypoints_2d is no list"),
        (people(["1"] * 54), "must be numbers"),
        (people([True] * 54), "must be numbers"),
        (people([math.nan] * 54), "expected finite numbers"),
        (people([1e300] * 54), "expected finite numbers"),
        (people([10**400] * 54), "expected finite numbers"),
        (people([0.5, 0.5, 0.9] * 18), "joints go from 0 to 1, and the file does not say of how many pixels"),
        (people([5.0] * 54) | {"canvas_width": 0, "canvas_height": 5}, "must be 1 to 65535 pixels, not 0"),
        (people([5.0] * 54) | {"canvas_width": "a", "canvas_height": 5}, "1 to 65535 pixels, not 'a'"),
        (coco({"a.jpg": NOBODY}), "no person in it"),
        (coco({"a.jpg": PERSON, "b.jpg": PERSON}), "2 poses in it, expected one"),
        (coco({"a.jpg": PERSON}, (0, 5)), "must be 1 to 65535 pixels, not 0"),
    ],
)  # fmt: skip
def test_a_bad_json_is_one_line_naming_the_file(document: Any, words: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", document)
    with pytest.raises(DataError, match=rf"a\.json: .*{words}") as error:
        PLUGIN.read_condition([path])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("end", "text", "words"),
    [
        ("candidate", "1 2 3\n", "_candidate.txt: a row has 3 numbers, expected 4"),
        ("candidate", "1 2 x 4\n", "_candidate.txt: expected nothing but numbers"),
        ("candidate", "1 2 \xff 4\n", "_candidate.txt: expected nothing but numbers"),
        ("candidate", "1 nan 3 4\n", "_candidate.txt: expected finite numbers"),
        ("candidate", "", "_subset.txt: expected -1 or row numbers 0..-1 of a_candidate.txt"),
        ("candidate", "1 2 3 4\n" * 300_000, "_candidate.txt: larger than 1 MiB"),
        ("subset", "", "_subset.txt: no person in it"),
        ("subset", "-1 " * 18 + "0 0\n", "_subset.txt: no person in it"),
        ("subset", "0 " * 19, "_subset.txt: a row has 19 numbers, expected 20"),
        ("subset", "18 " * 18 + "1 1", "_subset.txt: expected -1 or row numbers 0..17 of a_candidate.txt"),
        ("subset", "0.5 " * 18 + "1 1", "_subset.txt: expected -1 or row numbers 0..17 of a_candidate.txt"),
        ("subset", "-2 " * 18 + "1 1", "_subset.txt: expected -1 or row numbers 0..17 of a_candidate.txt"),
    ],
)
def test_a_bad_text_is_one_line_naming_the_file(end: str, text: str, words: str, tmp_path: Path) -> None:
    files = write_text(tmp_path / "a", PERSON)
    (tmp_path / f"a_{end}.txt").write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as error:
        PLUGIN.read_condition(files)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_json_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(DataError, match=r"a\.json: larger than 256 MiB"):
        PLUGIN.read_condition([tmp_path / "a.json"])


@pytest.mark.parametrize("names", [[], ["a.txt"], ["a.json", "b.json"], ["a_subset.txt", "b_subset.txt"]])
def test_other_files_are_no_pose(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"a pose is one \.json, or X_candidate\.txt and X_subset\.txt"):
        PLUGIN.read_condition([Path(name) for name in names])


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for names in (["a_candidate.txt", "a_subset.txt"], ["a.json"]):
        with pytest.raises(DataError, match=rf"{names[0]}: No such file"):
            PLUGIN.read_condition([tmp_path / name for name in names])
    with pytest.raises(DataError, match=r"a\.json: No such file"):
        PLUGIN.read_part([tmp_path / "a.json"], "3")
