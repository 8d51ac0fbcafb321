"""Which files in a folder are poses, and poses that are written: see mcltool.poses.plugin."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from posing import BODY_25, PERSON, PLUGIN, coco, people, read, values, without, write_json, write_text

from mcltool import Condition, DataError
from mcltool.poses import documents
from mcltool.poses.pose import NAMES, SIDES


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
    parse = documents.parse
    monkeypatch.setattr(documents, "parse", lambda *given: parsed.append(1) or parse(*given))
    path = write_json(tmp_path / "many.json", coco({f"{n}.jpg": PERSON + n / 20 for n in range(200)}))
    found = list(PLUGIN.conditions(tmp_path))
    last = [PLUGIN.read_part(condition.files, condition.part) for condition in found][-1]
    np.testing.assert_allclose(last.points[0], PERSON[0] + 199 / 20)
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
