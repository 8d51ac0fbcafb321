"""The deepfashion plugin: poses of every format, drawings against a slow formula, layouts and splits."""

from __future__ import annotations

import colorsys
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcltool_deepfashion import DeepFashionPlugin
from mcltool_deepfashion import coco as coco_module
from mcltool_deepfashion.joints import LIMBS, NAMES, SIDES
from PIL import Image

from mcltool import Condition, DataError, UsageError
from mcltool.config import DataConfig, resolve
from mcltool.data.batches import condition_picture, condition_tensor
from mcltool.data.dataset import TrainingData
from mcltool.data.transforms import evaluation_geometry, pseudo_view, training_geometry

REAL = Path(__file__).parents[2] / "shared" / "real-samples" / "deepfashion"
PLUGIN = DeepFashionPlugin()

# A person seen from in front: the left side is to the right of the picture. No two joints are in one place.
PERSON = np.array(
    [
        [50, 10], [51, 22], [40, 23], [36, 40], [34, 55], [62, 24], [66, 41], [68, 56],
        [44, 60], [43, 80], [42, 97], [58, 61], [59, 81], [60, 98], [47, 7], [53, 6], [43, 9], [57, 8],
    ],
    np.float32,
)  # fmt: skip
BODY_25 = [
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist", "middle hip",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
    "left big toe", "left small toe", "left heel", "right big toe", "right small toe", "right heel",
]  # fmt: skip
COCO_17 = [
    "nose", "left eye", "right eye", "left ear", "right ear",
    "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
    "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
]  # fmt: skip


def without(*names: str) -> np.ndarray:
    joints = PERSON.copy()
    joints[[NAMES.index(name) for name in names]] = np.nan
    return joints


def values(order: list[str] | tuple[str, ...], joints: np.ndarray, flag: float = 0.9) -> list[float]:
    """x, y, flag of each named joint as JSON formats have it; 0, 0, 0 where it is absent."""
    flat: list[float] = []
    for name in order:
        x, y = joints[NAMES.index(name)] if name in NAMES else (1, 2)
        flat += [0, 0, 0] if np.isnan(x) else [float(x), float(y), flag]
    return flat


def write_text(stem: Path, *people: np.ndarray, scores: tuple[float, ...] = (9.0, 9.0)) -> list[Path]:
    """OpenPose's text files, with rows for all joints found, the last person's first."""
    rows: list[list[float]] = []
    lines = []
    for joints, score in list(zip(people, scores, strict=False))[::-1]:
        numbers = []
        for x, y in joints:
            numbers.append(-1 if np.isnan(x) else len(rows))
            if not np.isnan(x):
                rows.append([x, y, 0.8, len(rows)])
        lines.insert(0, [*numbers, score, sum(number >= 0 for number in numbers)])
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_name(stem.name + end) for end in ("_candidate.txt", "_subset.txt")]
    for file, table in zip(files, (rows, lines), strict=True):
        file.write_text("".join(" ".join(f"{value:.18e}" for value in row) + "\n" for row in table))
    return files


def write_json(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def people(*poses: list[float]) -> dict[str, Any]:
    return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": pose} for pose in poses]}


def coco(
    poses: dict[str, np.ndarray | list[np.ndarray]], size: tuple[int, int] | None = (100, 80)
) -> dict[str, Any]:
    """A COCO document: poses by file name; annotation ids count from 11."""
    images, annotations = [], []
    for number, (name, of_image) in enumerate(poses.items()):
        images.append({"id": number, "file_name": name})
        if size:
            images[-1] |= {"height": size[0], "width": size[1]}
        for joints in of_image if isinstance(of_image, list) else [of_image]:
            keypoints = values(COCO_17, joints, 2)
            annotations.append({"id": 11 + len(annotations), "image_id": number, "keypoints": keypoints})
    return {"images": images, "annotations": annotations, "categories": []}


def read(*files: Path) -> Condition:
    condition = PLUGIN.read_condition(files)
    assert condition.points is not None
    assert condition.points.shape == (18, 2)
    assert condition.points.dtype == np.float32
    return condition


# Reading


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
    joints = PERSON * [9, -9]
    np.testing.assert_array_equal(read(*write_text(tmp_path / "a", joints)).points, joints)


# What a folder holds


def test_every_kind_of_pose_in_a_folder_is_found_once(tmp_path: Path) -> None:
    write_text(tmp_path / "WOMEN" / "id_1" / "02_1_front", PERSON)
    write_json(tmp_path / "WOMEN" / "b_keypoints.json", people(values(BODY_25, PERSON)))
    write_json(tmp_path / "c.json", people(values(NAMES, PERSON)))
    write_json(
        tmp_path / "many.json",
        coco({"x/1.jpg": PERSON, "../x/2.jpg": [PERSON, without("nose")], "3.jpg": []}),
    )
    (tmp_path / "train.txt").write_text("x\n")
    (tmp_path / "photo.jpg").touch()
    found = list(PLUGIN.conditions(tmp_path))
    assert [condition.id for condition in found] == [
        "WOMEN/b",
        "WOMEN/id_1/02_1_front",
        "c",
        "many/x/1",
        "many/x/2_12",
        "many/x/2_13",
    ]
    assert [condition.part for condition in found] == ["", "", "", "11", "12", "13"]
    assert [len(condition.files) for condition in found] == [1, 2, 1, 1, 1, 1]
    points = [PLUGIN.read_part(condition.files, condition.part).points for condition in found]
    np.testing.assert_array_equal(points[1], PERSON)
    assert np.isnan(points[5][0]).all()
    assert not np.isnan(points[4]).any()


def test_ids_differ_where_openposes_suffix_alone_does(tmp_path: Path) -> None:
    write_text(tmp_path / "a", PERSON)
    write_json(tmp_path / "a_keypoints.json", people(values(BODY_25, PERSON)))
    write_json(tmp_path / "b.json", people(values(BODY_25, PERSON)))
    write_json(tmp_path / "b_keypoints.json", people(values(BODY_25, PERSON)))
    assert [condition.id for condition in PLUGIN.conditions(tmp_path)] == [
        "a",
        "a_keypoints",
        "b",
        "b_keypoints",
    ]


def test_what_cannot_be_read_is_found_all_the_same_and_fails_when_it_is_read(tmp_path: Path) -> None:
    write_text(tmp_path / "a", PERSON)[1].unlink()
    write_text(tmp_path / "b", PERSON)[0].unlink()
    write_json(tmp_path / "c.json", "{")
    write_json(tmp_path / "d.json", coco({"x.jpg": []}))
    wanted = {
        "a": r"a_candidate\.txt: expected a_subset\.txt beside it",
        "b": r"b_subset\.txt: expected b_candidate\.txt beside it",
        "c": r"c\.json: not valid JSON",
        "d": r"d\.json: no person in it",
    }
    found = list(PLUGIN.conditions(tmp_path))
    assert [condition.id for condition in found] == list(wanted)
    for condition, words in zip(found, wanted.values(), strict=True):
        with pytest.raises(DataError, match=words):
            PLUGIN.read_part(condition.files, condition.part)


def test_a_coco_file_is_parsed_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    parse = coco_module.parse_coco
    monkeypatch.setattr(coco_module, "parse_coco", lambda *given: parsed.append(1) or parse(*given))
    path = write_json(tmp_path / "many.json", coco({f"{n}.jpg": PERSON + n for n in range(200)}))
    found = list(PLUGIN.conditions(tmp_path))
    last = [PLUGIN.read_part(condition.files, condition.part) for condition in found][-1]
    np.testing.assert_allclose(last.points[0], PERSON[0] + 199)
    assert len(parsed) == 1
    last.points[:] = 0  # belongs to the caller
    write_json(path, coco({f"{n}.jpg": PERSON for n in range(200)}))
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(PLUGIN.read_part(found[-1].files, found[-1].part).points[0], PERSON[0])
    assert len(parsed) == 2


def test_a_broken_pose_in_a_coco_file_hinders_no_other(tmp_path: Path) -> None:
    document = coco({"a.jpg": PERSON, "b.jpg": PERSON, "c.jpg": PERSON})
    document["annotations"][1]["keypoints"].pop()
    write_json(tmp_path / "m.json", document)
    good, bad, other = PLUGIN.conditions(tmp_path)
    assert PLUGIN.read_part(good.files, good.part).size == PLUGIN.read_part(other.files, other.part).size
    with pytest.raises(DataError, match=r"m\.json: annotation 12: keypoints is 50 numbers, expected 51"):
        PLUGIN.read_part(bad.files, bad.part)


def test_a_pose_that_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    for name in ("sub/a.b", "c_keypoints"):
        condition = Condition((300, 200), points=without("nose", "left knee") / 3, mirror=SIDES)
        path = PLUGIN.write_condition(condition, tmp_path / name)
        assert path == tmp_path / f"{name}_keypoints.json"
        again = read(path)
        np.testing.assert_array_equal(again.points, condition.points)
        assert (again.size, again.mirror) == (condition.size, condition.mirror)
    assert [found.id for found in PLUGIN.conditions(tmp_path)] == ["c_keypoints", "sub/a.b"]


# Bad files


NOBODY = np.full((18, 2), np.nan)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[1", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("\xff\xfe", "not valid JSON"),
        ([], "expected a JSON object with people"),
        ({}, r"expected people \(OpenPose\), or annotations"),
        ({"annotations": 3}, "or annotations and images"),
        ({"people": 3}, "expected people to be a list"),
        (people(), "no person in it"),
        (people([]), "no person in it"),
        (people([0.0] * 75), "no person in it"),
        (people([1.0] * 57), r"is 57 numbers, expected 75 \(BODY_25\) or 54"),
        ({"people": [{}]}, "pose_keypoints_2d is no list"),
        ({"people": ["a"]}, "pose_keypoints_2d is no list"),
        (people(["1"] * 54), "must be numbers"),
        (people([True] * 54), "must be numbers"),
        (people([math.nan] * 54), "expected finite numbers"),
        (people([1e300] * 54), "expected finite numbers"),
        (people([10**400] * 54), "expected finite numbers"),
        (people([0.5, 0.5, 0.9] * 18), "joints go from 0 to 1, expected pixels"),
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


# Drawing


def segment_distance(p: tuple[float, float], a: np.ndarray, b: np.ndarray) -> float:
    """By the nearest point of the segment, one pixel at a time."""
    (ax, ay), (bx, by) = a, b
    squared = (bx - ax) ** 2 + (by - ay) ** 2
    t = ((p[0] - ax) * (bx - ax) + (p[1] - ay) * (by - ay)) / squared if squared else 0.0
    t = min(max(t, 0.0), 1.0)
    return math.hypot(p[0] - ax - t * (bx - ax), p[1] - ay - t * (by - ay))


def draw_slowly(joints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    short = min(size)
    planes = np.zeros((height, width, 20))
    there = ~np.isnan(joints).any(1)
    limbs = [(n, a, b) for n, (a, b) in enumerate(LIMBS) if there[a] and there[b]]
    strokes = [(n, joints[a], joints[b], short / 96) for n, a, b in limbs]
    strokes += [(n, joints[n], joints[n], short / 64) for n in range(18) if there[n]]
    for y in range(height):
        for x in range(width):
            for n, a, b in limbs:
                planes[y, x, 3 + n] = max(
                    0.0, 1 - segment_distance((x, y), joints[a], joints[b]) / (short / 4)
                )
            for n, a, b, reach in strokes:
                cover = min(max(reach + 0.5 - segment_distance((x, y), a, b), 0.0), 1.0)
                colour = np.array(colorsys.hsv_to_rgb(n * 20 / 360, 1, 1))
                planes[y, x, :3] = (1 - cover) * planes[y, x, :3] + cover * colour
    return planes


@pytest.mark.parametrize("size", [(40, 28), (17, 33), (3, 2)])
def test_drawing_agrees_with_a_formula_a_pixel(size: tuple[int, int]) -> None:
    joints = (PERSON - 0.3) * [size[1] / 100, size[0] / 100]
    joints[7] = [-9.5, 12.25]  # outside
    joints[4] = joints[3]  # a limb of no length
    joints[[9, 16]] = np.nan
    planes = PLUGIN.render(Condition(size, points=joints.astype(np.float32)))
    assert planes.shape == (*size, 20)
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes, draw_slowly(joints.astype(np.float32), size), atol=2e-5)


def test_drawings_at_two_sizes_look_alike() -> None:
    small = PLUGIN.render(Condition((100, 100), points=PERSON))
    large = PLUGIN.render(Condition((400, 400), points=(PERSON + 0.5) * 4 - 0.5))
    averaged = large.reshape(100, 4, 100, 4, 20).mean((1, 3))
    assert np.abs(averaged[..., 3:] - small[..., 3:]).max() < 0.02
    assert np.abs(averaged[..., :3] - small[..., :3]).mean() < 0.01


def test_absent_joints_leave_their_limbs_empty() -> None:
    planes = PLUGIN.render(Condition((100, 100), points=without("right elbow")))
    for limb, ends in enumerate(LIMBS):
        assert planes[..., 3 + limb].any() == (NAMES.index("right elbow") not in ends)
    nobody = PLUGIN.render(Condition((50, 70), points=np.full((18, 2), np.nan, np.float32)))
    assert nobody.shape == (50, 70, 20)
    assert not nobody.any()


@pytest.mark.parametrize("offset", [1e2, -1e4, 3e9, 1e30])
@pytest.mark.filterwarnings("error")
def test_joints_far_outside_are_no_trouble(offset: float) -> None:
    for moved in (PERSON + np.float32(offset), PERSON * np.where(np.arange(18) % 2, 1, offset)[:, None]):
        planes = PLUGIN.render(Condition((64, 96), points=moved.astype(np.float32)))
        assert np.isfinite(planes).all()
        assert planes.min() >= 0
        assert planes.max() <= 1


def test_the_spec_fits_what_is_drawn() -> None:
    spec = PLUGIN.spec
    assert (spec.kind, spec.channels) == ("channels", 20)
    assert spec.names[:5] == ("red", "green", "blue", "neck to right shoulder", "neck to left shoulder")
    condition = Condition((100, 100), points=PERSON)
    assert condition_tensor(PLUGIN, condition).shape == (20, 100, 100)
    red, green, blue = condition_picture(PLUGIN.render(condition), spec)[10, 50]
    assert red == 255  # the nose
    assert max(green, blue) < 100  # the glow of the limbs that meet there


def test_a_condition_without_joints_is_an_error() -> None:
    with pytest.raises(DataError, match="18 points"):
        PLUGIN.render(Condition((8, 8), np.zeros((8, 8), np.uint8)))
    with pytest.raises(DataError, match="18 points"):
        PLUGIN.write_condition(Condition((8, 8), points=np.zeros((17, 2), np.float32)), Path("a"))


# Geometry


def marked(size: tuple[int, int]) -> tuple[np.ndarray, Condition]:
    """A photo with a white disc at the left wrist, and the pose that says so (on a canvas half as large)."""
    joints = (PERSON + 0.5) * [size[1] / 100, size[0] / 100] - 0.5
    y, x = np.mgrid[: size[0], : size[1]]
    wrist = joints[NAMES.index("left wrist")]
    disc = (x - wrist[0]) ** 2 + (y - wrist[1]) ** 2 < 16
    photo = np.repeat(disc[..., None] * np.uint8(255), 3, 2)
    points = ((joints + 0.5) / 2 - 0.5).astype(np.float32)
    return photo, Condition((size[0] // 2, size[1] // 2), points=points, mirror=SIDES)


def is_inside(pose: Condition, margin: int) -> bool:
    """Whether the marker is in the picture, and this far from its edge."""
    x, y = pose.points[NAMES.index("left wrist")]
    return bool(margin <= x < pose.size[1] - margin and margin <= y < pose.size[0] - margin)


def test_joints_are_drawn_where_the_photos_marker_went() -> None:
    photo, condition = marked((240, 200))
    config = DataConfig(size=(128, 96), load_scale=1.2)
    views = [training_geometry(photo, condition, config, seed) for seed in range(10)]
    views = [view for view in views if is_inside(view[1], 12)]  # what lies outside may be reflected back in
    views += [pseudo_view(*view, seed) for seed, view in enumerate(views)]
    views.append(evaluation_geometry(photo, condition, (128, 96)))
    views = [view for view in views if is_inside(view[1], 8)]
    assert len(views) > 10
    for moved, pose in views:
        wrist = pose.points[NAMES.index("left wrist")]
        left, top = wrist.astype(int) - 6
        y, x = np.mgrid[top : top + 14, left : left + 14]
        weights = moved[top : top + 14, left : left + 14, 0].astype(float)
        centre = [(x * weights).sum() / weights.sum(), (y * weights).sum() / weights.sum()]
        assert wrist == pytest.approx(centre, abs=0.5)
        colour = PLUGIN.render(pose)[round(centre[1]), round(centre[0]), :3]
        assert colour == pytest.approx(np.array(colorsys.hsv_to_rgb(7 / 18, 1, 1)), abs=0.02)


def test_mirrored_people_have_their_left_side_on_the_other_side() -> None:
    photo, condition = marked((200, 200))
    config = DataConfig(size=(192, 192), load_scale=1.0, flip=True)
    views = [training_geometry(photo, condition, config, seed) for seed in range(20)]
    straight = training_geometry(photo, condition, DataConfig(size=(192, 192), load_scale=1.0), 0)
    views += [pseudo_view(*straight, seed, flip=True) for seed in range(20)]
    mirrored = 0
    for moved, pose in views:
        points = pose.points
        down = points[8] + points[11] - 2 * points[1]  # from the neck down, whichever way it is turned
        for right, left in SIDES:
            across = points[left] - points[right]
            assert across[0] * down[1] > across[1] * down[0]  # still seen from in front
        # The marker was at the left wrist; in a mirrored picture it is at the right one.
        lit = [
            moved[tuple(points[NAMES.index(f"{side} wrist")].round().astype(int)[::-1])][0] > 128
            for side in ("left", "right")
        ]
        assert sorted(lit) == [False, True]
        mirrored += lit[1]
    assert 10 < mirrored < 30


def test_mirrored_labels_and_channels_change_places_too() -> None:
    labels = np.full((32, 32), 7, np.uint8)
    labels[:, :8], labels[:, 20:] = 1, 2  # the left thing is the smaller one
    photo = np.repeat(labels[..., None], 3, 2)
    channels = np.stack([labels, labels + 10, labels + 20], 2)
    config = DataConfig(size=(32, 32), load_scale=1.0, flip=True)
    seen = set()
    for seed in range(10):
        flat = training_geometry(photo, Condition((32, 32), labels, mirror=((1, 2),)), config, seed)[1].raster
        deep = training_geometry(photo, Condition((32, 32), channels, mirror=((2, 0),)), config, seed)[
            1
        ].raster
        assert (flat[0, 0], flat[0, 16], flat[0, 31]) == (1, 7, 2)  # sides keep their names
        is_mirrored = bool((flat == 1).sum() > (flat == 2).sum())
        assert deep[0, 31].tolist() == ([21, 11, 1] if is_mirrored else [2, 12, 22])
        seen.add(is_mirrored)
    assert seen == {False, True}


# The data set in its folder


def add_photo(root: Path, name: str, size: tuple[int, int] = (100, 80), **how: Any) -> Path:
    path = root / "img" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "grey").save(path, **how)
    return path


VIEWS = ("01_1_front", "02_1_front", "02_2_side")
PHOTOS = [f"WOMEN/Dresses/id_{number:08d}/{view}" for number in range(8) for view in VIEWS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight garments, one item of each from one side and one from two, with poses as text."""
    for name in PHOTOS:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    return tmp_path


def ids(root: Path, split: str) -> list[str]:
    return [sample.id for sample in PLUGIN.index(root, split)]


def test_photos_and_poses_are_paired_by_their_path(root: Path) -> None:
    samples = [*PLUGIN.index(root, "train"), *PLUGIN.index(root, "val")]
    assert sorted(sample.id for sample in samples) == PHOTOS
    for sample in samples:
        assert sample.photo == root / "img" / f"{sample.id}.jpg"
        assert sample.condition == tuple(
            root / "pose" / f"{sample.id}_{end}.txt" for end in ("candidate", "subset")
        )
        np.testing.assert_array_equal(PLUGIN.condition(sample, 64).points, PERSON)
        assert PLUGIN.condition(sample, 64).size == (100, 80)


@pytest.mark.parametrize(
    "place", ["pose/{}_keypoints.json", "pose/{}.json", "img/{}.json", "img/{}_keypoints.json"]
)
def test_poses_may_be_json_files(place: str, tmp_path: Path) -> None:
    for name in PHOTOS[:3]:
        add_photo(tmp_path, name)
        write_json(tmp_path / place.format(name), people(values(BODY_25, PERSON)))
    samples = [*PLUGIN.index(tmp_path, "train"), *PLUGIN.index(tmp_path, "val")]
    assert sorted(sample.id for sample in samples) == PHOTOS[:3]
    condition = PLUGIN.condition(samples[0], 64)
    np.testing.assert_array_equal(condition.points, PERSON)
    assert condition.size == (100, 80)


@pytest.mark.parametrize("prefix", ["", "img/", "./img/"])
def test_poses_may_be_one_coco_file(prefix: str, tmp_path: Path) -> None:
    poses: dict[str, Any] = {f"{prefix}{name}.jpg": PERSON + n for n, name in enumerate(PHOTOS)}
    poses[f"{prefix}{PHOTOS[3]}.jpg"] = [without("nose"), PERSON - 2, PERSON / 2]
    write_json(tmp_path / "keypoints.json", coco(poses, (200, 160)))
    for name in PHOTOS:
        add_photo(tmp_path, name)
    samples = {sample.id: sample for split in ("train", "val") for sample in PLUGIN.index(tmp_path, split)}
    assert sorted(samples) == PHOTOS
    assert PLUGIN.condition(samples[PHOTOS[5]], 64).points[0].tolist() == [55, 15]
    assert PLUGIN.condition(samples[PHOTOS[3]], 64).points[0].tolist() == [
        48,
        8,
    ]  # all joints, and the largest
    assert PLUGIN.condition(samples[PHOTOS[3]], 64).size == (200, 160)


def test_a_group_is_one_item_of_a_garment(root: Path) -> None:
    samples = [*PLUGIN.index(root, "train"), *PLUGIN.index(root, "val")]
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample.id)
    assert sorted(map(len, groups.values())) == [1] * 8 + [2] * 8
    assert groups["WOMEN/Dresses/id_00000003/02"] == [PHOTOS[10], PHOTOS[11]]


def test_the_exemplar_is_another_view_or_else_the_photo_itself(root: Path) -> None:
    samples = PLUGIN.index(root, "train")
    config = resolve("deepfashion", "tiny", PLUGIN.defaults).data
    data = TrainingData(PLUGIN, samples, config, 0)
    for n, sample in enumerate(samples):
        chosen = data._choose_exemplar(n, np.random.default_rng(0))
        assert samples[chosen].group == sample.group
        assert (chosen == n) == sample.id.endswith("01_1_front")
    item = data[0]
    assert item["condition"].shape == (20, *config.size)
    assert bool(item["paired"])


def test_without_lists_garments_are_split_and_stay_where_they_are(root: Path) -> None:
    train, val = ids(root, "train"), ids(root, "val")
    assert train
    assert val
    garments = [{str(Path(name).parent) for name in names} for names in (train, val)]
    assert not garments[0] & garments[1]
    many = [f"WOMEN/id_{n}/01_1_front" for n in range(500)]
    for name in many:
        path = root / "img" / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
        write_text(root / "pose" / name, PERSON)
    assert 30 < sum(name in many for name in ids(root, "val")) < 70
    assert not set(ids(root, "train")) & set(ids(root, "val"))


@pytest.mark.parametrize("names", [PHOTOS[:2], PHOTOS[1:4], ["a", "b"], PHOTOS[:6:3]])
def test_two_groups_fill_both_splits(names: list[str], tmp_path: Path) -> None:
    for name in names:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    train, val = ids(tmp_path, "train"), ids(tmp_path, "val")
    assert train
    assert val
    assert sorted(train + val) == names


def test_a_single_group_serves_both_splits(tmp_path: Path) -> None:
    for name in PHOTOS[1:3]:
        add_photo(tmp_path, name)
        write_text(tmp_path / "pose" / name, PERSON)
    assert ids(tmp_path, "train") == ids(tmp_path, "val") == PHOTOS[1:3]


def test_lists_make_the_splits(root: Path) -> None:
    (root / "val.txt").write_text(f"img/{PHOTOS[2]}.jpg\n\n{PHOTOS[1]}.jpg\r\n./img/{PHOTOS[7]}.jpg\n")
    assert ids(root, "val") == [PHOTOS[1], PHOTOS[2], PHOTOS[7]]
    assert ids(root, "train") == [name for n, name in enumerate(PHOTOS) if n not in (1, 2, 7)]
    (root / "train.txt").write_text(f"{PHOTOS[0]}.jpg\n")
    assert ids(root, "train") == [PHOTOS[0]]
    assert len(ids(root, "val")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", r"train\.txt: lists no photos"),
        (f"{PHOTOS[0]}.jpg\nnone.jpg\n", r"train\.txt, line 2: no photo none\.jpg below .*img"),
        ("../../etc/passwd\n", r"train\.txt, line 1: no photo"),
        ("\xff", r"train\.txt: cannot be read as text"),
    ],
)
def test_a_bad_list_is_an_error(text: str, words: str, root: Path) -> None:
    (root / "train.txt").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=words):
        PLUGIN.index(root, "train")


def test_a_list_of_all_photos_leaves_none(root: Path) -> None:
    (root / "train.txt").write_text("".join(f"{name}.jpg\n" for name in PHOTOS))
    with pytest.raises(UsageError, match=r"train\.txt: lists all photos, none are left for val"):
        PLUGIN.index(root, "val")


def test_the_canvas_is_that_of_the_upright_photo(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, how in {PHOTOS[1]: {}, PHOTOS[2]: {"exif": turned}}.items():
        add_photo(tmp_path, name, **how)
        write_text(tmp_path / "pose" / name, PERSON)
    for sample, size in zip(PLUGIN.index(tmp_path, "train"), [(100, 80), (80, 100)], strict=True):
        assert PLUGIN.condition(sample, 64).size == size
        assert PLUGIN.photo(sample, 0).shape[:2] == size
        sample.photo.write_bytes(b"no image")
        with pytest.raises(DataError, match="not an image that can be read"):
            PLUGIN.condition(sample, 64)


@pytest.mark.parametrize("given", [None, "nowhere", "."])
def test_a_missing_data_set_says_where_to_get_it_what_it_looks_like_and_its_terms(
    given: str | None, tmp_path: Path
) -> None:
    root = tmp_path / given if given else None
    wanted = (
        r"(?=.*InShopRetrieval\.html)(?=.*img/\*\*/X\.jpg)(?=.*pose/\*\*/X_candidate)(?=.*non-commercial)"
    )
    with pytest.raises(UsageError, match=wanted) as error:
        PLUGIN.index(root, "train")
    assert str(root or "--root") in str(error.value)


def test_an_empty_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    with pytest.raises(UsageError, match=r"img: no photos in it; get the photos"):
        PLUGIN.index(tmp_path, "train")


def test_a_photo_without_pose_names_both(root: Path) -> None:
    for file in (root / "pose" / PHOTOS[0]).parent.iterdir():
        file.unlink()
    split = "train" if PHOTOS[0] in ids_of_photos(root, "train") else "val"
    with pytest.raises(
        UsageError, match=rf"img/{PHOTOS[0]}\.jpg: no pose, expected .*pose/{PHOTOS[0]}_candidate\.txt"
    ):
        PLUGIN.index(root, split)
    (root / f"{split}.txt").write_text(f"{PHOTOS[5]}.jpg\n")
    assert ids(root, split) == [PHOTOS[5]]


def ids_of_photos(root: Path, split: str) -> list[str]:
    try:
        return ids(root, split)
    except UsageError:
        return PHOTOS


def test_a_broken_coco_file_in_the_root_is_an_error(tmp_path: Path) -> None:
    add_photo(tmp_path, "a")
    write_json(tmp_path / "poses.json", "{")
    with pytest.raises(UsageError, match=r"poses\.json: not valid JSON"):
        PLUGIN.index(tmp_path, "train")


def test_two_photos_of_one_name_are_an_error(root: Path) -> None:
    (root / "img" / f"{PHOTOS[0]}.png").touch()
    with pytest.raises(UsageError, match=r"01_1_front\.png: the photo .*01_1_front\.jpg has the same name"):
        PLUGIN.index(root, "train")


def test_an_unknown_split_is_an_error(root: Path) -> None:
    with pytest.raises(UsageError, match="no split 'test'; there are train, val"):
        PLUGIN.index(root, "test")


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_the_defaults_are_settings_that_exist(preset: str) -> None:
    config = resolve("deepfashion", preset, PLUGIN.defaults)
    assert (config.loss.perc_layer, config.loss.warp, config.train.epochs) == ("relu4_2", 100.0, 100)
    assert (config.data.flip, config.data.exemplar_self) == (False, 0.0)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real samples are not at {REAL}")
def test_real_files_are_read() -> None:
    samples = [*PLUGIN.index(REAL, "train"), *PLUGIN.index(REAL, "val")]
    assert len(samples) == 4
    assert len(list(PLUGIN.conditions(REAL / "pose"))) == 4
    for sample in samples:
        photo, condition = PLUGIN.photo(sample, 0), PLUGIN.condition(sample, 0)
        assert photo.shape[:2] == condition.size == (256, 256)
        # The person stands out from a plain background: most joints lie on what differs from it.
        x, y = condition.points[~np.isnan(condition.points[:, 0])].astype(int).T
        difference = np.abs(photo[y, x].astype(int) - photo[3, 60]).max(1)
        assert (difference >= 8).mean() > 0.8
