"""Poses of one picture: OpenPose's text and JSON, and what other tools write of one picture.

Where a file holds several people, the one with the most joints is taken, of equals the one of higher score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import DataError
from mcltool.poses.pose import (
    BODY_18,
    BODY_25,
    COCO_17,
    HALPE_26,
    Order,
    Pose,
    Size,
    best_of,
    canvas_of,
    finite,
    numbers,
    pose_of,
    read_bytes,
)

CANDIDATE, SUBSET = "_candidate.txt", "_subset.txt"
"""How the names of the two text files of a pose end: joints found, and which of them are whose."""
MAX_TEXT_BYTES = 1 << 20
DRESSCODE = (512, 384)
"""The canvas of DressCode's joints; its photos are twice as large."""

ORDERS: dict[int, Order] = {
    17: COCO_17, 18: BODY_18, 25: BODY_25, 26: HALPE_26, 133: COCO_17, 136: HALPE_26,
}  # fmt: skip
"""Layouts by the number of joints: COCO and its whole body, OpenPose's two, Halpe without and with face and hands."""


def read_text_pose(candidate: Path, subset: Path) -> Pose:
    """A pose in OpenPose's text files.

    candidate: a row x y score id for each joint found. subset: a row a person, of 18 row numbers in
    ``candidate`` (-1: absent), total score and number of joints.
    """
    found, people = _read_table(candidate, 4), _read_table(subset, 20)
    ranked = []
    for row in people:
        named = row[:18].astype(int)
        rows = named.tolist()
        if np.count_nonzero(named != row[:18]) or min(rows) < -1 or max(rows) >= len(found):
            last = len(found) - 1
            raise DataError(f"{subset}: expected -1 or row numbers 0..{last} of {candidate.name}")
        if max(rows) < 0:  # nobody
            continue
        ranked.append((float(row[18]), pose_of(found[named, :2], named + 1, BODY_18, str(candidate))))
    return best_of(ranked, str(subset))


def one_picture(document: dict[str, Any], where: str) -> Pose:
    """The pose in a JSON document of one picture.

    OpenPose's people[].pose_keypoints_2d, or pose_keypoints before its version 1.2; AlphaPose's bodies[].joints;
    keypoints with a row a joint, as DressCode and editors have them. Editors add the canvas.
    """
    for people, keys in (("people", ("pose_keypoints_2d", "pose_keypoints")), ("bodies", ("joints",))):
        if people in document:
            size = canvas_of(document, "canvas_height", "canvas_width", where)
            return _flat(document[people], people, keys, where, size)
    if "instance_info" in document:  # MMPose's
        return instances(document["instance_info"], where)
    return _rows(document, where)


def instances(people: Any, where: str) -> Pose:
    """MMPose's list of the people in a picture: keypoints (a row x, y a joint) and keypoint_scores."""
    ranked = []
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise DataError(f"{where}: expected a list of people with keypoints and keypoint_scores")
    for person in people:
        rows = _table(person.get("keypoints"), where)
        scores = numbers(person.get("keypoint_scores") or [1.0] * len(rows), where, "keypoint_scores")
        if len(scores) != len(rows):
            raise DataError(f"{where}: {len(rows)} keypoints with {len(scores)} keypoint_scores")
        ranked.append((float(scores.sum()), pose_of(rows[:, :2], scores, order_of(len(rows), where), where)))
    return best_of(ranked, where)


def flat_pose(values: Any, size: Size | None, where: str, name: str = "keypoints") -> Pose:
    """x, y and flag (0: not labelled) or score, joint after joint, as COCO and OpenPose have them."""
    if not isinstance(values, list) or len(values) % 3 or len(values) // 3 not in ORDERS:
        has = f"{len(values)} numbers" if isinstance(values, list) else "no list"
        raise DataError(f"{where}: {name} is {has}, expected 51 (17 joints), 54 (18) or 75 (25)")
    rows = numbers(values, where, name).reshape(-1, 3)
    return pose_of(rows[:, :2], rows[:, 2], ORDERS[len(rows)], where, size)


def order_of(joints: int, where: str) -> Order:
    if joints not in ORDERS:
        raise DataError(f"{where}: {joints} joints, expected one of {', '.join(map(str, ORDERS))}")
    return ORDERS[joints]


def openpose_document(joints: NDArray[np.float32], size: Size) -> dict[str, Any]:
    """Joints in pixels as an OpenPose document of BODY_18 with its canvas, which is read as the same."""
    absent = np.isnan(joints[:, :1])
    rows = np.where(absent, 0.0, np.hstack([joints, np.ones_like(absent, np.float32)]))
    people = [{"pose_keypoints_2d": rows.astype(np.float64).ravel().tolist()}]
    return {"version": 1.3, "people": people, "canvas_height": size[0], "canvas_width": size[1]}


def _flat(people: Any, name: str, keys: Sequence[str], where: str, size: Size | None) -> Pose:
    if not isinstance(people, list):
        raise DataError(f"{where}: expected {name} to be a list")
    ranked = []
    for person in people:
        held = [person[key] for key in keys if key in person] if isinstance(person, dict) else []
        values = held[0] if held else ""
        if values is None or values == []:  # editors have people of whom only the hands were found
            continue
        pose = flat_pose(values, size, where, keys[0])
        ranked.append((sum(values[2::3]), pose))
    return best_of(ranked, where)


def _rows(document: dict[str, Any], where: str) -> Pose:
    """keypoints with a row a joint: x, y, perhaps score, perhaps number. DressCode's have all four and no canvas."""
    size = canvas_of(document, "height", "width", where)
    ranked = []
    for rows in _people(document.get("keypoints"), where):
        if rows.shape[1] == 4 and set(rows[:, 3]) == set(range(len(rows))):
            rows = rows[np.argsort(rows[:, 3])]
        scores = rows[:, 2] if rows.shape[1] > 2 else np.ones(len(rows))
        usual = DRESSCODE if rows.shape[1] == 4 and size is None else None
        pose = pose_of(rows[:, :2], scores, order_of(len(rows), where), where, size, usual)
        ranked.append((float(scores.sum()), pose))
    return best_of(ranked, where)


def _people(values: Any, where: str) -> list[NDArray[np.float64]]:
    """The table of each person: of a list of people's rows, or of rows one after the other, 18 a person."""
    nested = isinstance(values, list) and any(
        isinstance(row, list) and row and isinstance(row[0], list) for row in values
    )
    tables = [_table(person, where) for person in (values if nested else [values])]
    return [
        rows
        for table in tables
        for rows in (table.reshape(-1, 18, table.shape[1]) if len(table) % 18 == 0 else [table])
    ]


def _table(values: Any, where: str) -> NDArray[np.float64]:
    """A person's rows of 2 to 4 numbers, (K, 2..4); of numbers alone x, y, score joint after joint."""
    rows = values if isinstance(values, list) else []
    if rows and len(rows) % 3 == 0 and not isinstance(rows[0], list):
        rows = [rows[start : start + 3] for start in range(0, len(rows), 3)]
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(widths) != 1 or not widths <= {2, 3, 4}:
        raise DataError(f"{where}: expected keypoints to be rows of x, y and perhaps a score")
    return numbers([value for row in rows for value in row], where, "keypoints").reshape(len(rows), -1)


def _read_table(path: Path, columns: int) -> NDArray[np.float64]:
    """Rows of numbers in a text file, (N, columns)."""
    lines = [words for line in read_bytes(path, MAX_TEXT_BYTES).splitlines() if (words := line.split())]
    for line in lines:
        if len(line) != columns:
            raise DataError(f"{path}: a row has {len(line)} numbers, expected {columns}")
    try:
        values = [float(word) for line in lines for word in line]
    except ValueError:
        raise DataError(f"{path}: expected nothing but numbers") from None
    return finite(np.array(values).reshape(-1, columns), path)
