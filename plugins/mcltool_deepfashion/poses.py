"""Reading the pose of one person from OpenPose files: text, or JSON. Everything wrong is one DataError.

Where a file holds several people, the one with the most joints is taken, of equals the one of higher score.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool import DataError
from mcltool_deepfashion.joints import BODY_18, BODY_25, Joints, count, from_rows

CANDIDATE, SUBSET = "_candidate.txt", "_subset.txt"
"""How the names of the two text files of a pose end: joints found, and which of them are whose."""
MAX_TEXT_BYTES = 1 << 20
MAX_JSON_BYTES = 256 << 20
MAX_SIDE = 65535

_ORDERS = {75: BODY_25, 54: BODY_18}
"""Layouts of pose_keypoints_2d by how many numbers it has."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A person's joints; size: (height, width) of the canvas in pixels, None where the file does not say."""

    joints: Joints
    size: tuple[int, int] | None = None


def read_text_pose(candidate: Path, subset: Path) -> Pose:
    """A pose in OpenPose's text files.

    candidate: a row x y score id for each joint found. subset: a row a person, of 18 row numbers in
    ``candidate`` (-1: absent), total score and number of joints.
    """
    found, people = _read_table(candidate, 4), _read_table(subset, 20)
    ranked = []
    for row in people:
        numbers = row[:18]
        if (numbers != np.round(numbers)).any() or numbers.min() < -1 or numbers.max() >= len(found):
            last = len(found) - 1
            raise DataError(f"{subset}: expected -1 or row numbers 0..{last} of {candidate.name}")
        joints = np.full((18, 2), np.nan, np.float32)
        present = numbers >= 0
        joints[present] = found[numbers[present].astype(int), :2]
        ranked.append((float(row[18]), joints))
    return Pose(_best(ranked, subset))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        document = json.loads(_read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected a JSON object with people (OpenPose) or annotations (COCO)")
    return document


def openpose_pose(document: dict[str, Any], path: Path) -> Pose:
    """The pose in an OpenPose document: people[].pose_keypoints_2d of BODY_25 or BODY_18, in pixels.

    Editors of such files add canvas_width and canvas_height; these are the canvas where they are there.
    """
    people = document.get("people")
    if not isinstance(people, list):
        raise DataError(f"{path}: expected people to be a list")
    ranked = []
    for person in people:
        values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        if values == []:
            continue
        if not isinstance(values, list) or len(values) not in _ORDERS:
            has = f"{len(values)} numbers" if isinstance(values, list) else "no list"
            raise DataError(f"{path}: pose_keypoints_2d is {has}, expected 75 (BODY_25) or 54 (BODY_18)")
        rows = numbers(values, path, "pose_keypoints_2d").reshape(-1, 3)
        joints = from_rows(rows[:, :2], rows[:, 2] > 0, _ORDERS[len(values)])
        ranked.append((float(rows[:, 2].sum()), joints))
    joints = _best(ranked, path)
    if count(joints) > 1 and np.nanmin(joints) >= 0 and np.nanmax(joints) <= 1:
        raise DataError(f"{path}: joints go from 0 to 1, expected pixels (OpenPose's --keypoint_scale 0)")
    return Pose(joints, canvas_of(document, "canvas_height", "canvas_width", path))


def openpose_document(pose: Pose) -> dict[str, Any]:
    """A pose as an OpenPose document of BODY_18 that ``openpose_pose`` reads as the same."""
    absent = np.isnan(pose.joints[:, :1])
    rows = np.where(absent, 0.0, np.hstack([pose.joints, np.ones_like(absent, np.float32)]))
    people = [{"pose_keypoints_2d": rows.astype(np.float64).ravel().tolist()}]
    document: dict[str, Any] = {"version": 1.3, "people": people}
    if pose.size:
        document |= {"canvas_height": pose.size[0], "canvas_width": pose.size[1]}
    return document


def canvas_of(entry: dict[str, Any], height: str, width: str, path: Path) -> tuple[int, int] | None:
    """The canvas that two keys of ``entry`` give as (height, width); None where either is missing."""
    sides = entry.get(height), entry.get(width)
    if None in sides:
        return None
    for side in sides:
        if not isinstance(side, int | float) or not 1 <= side <= MAX_SIDE:
            raise DataError(f"{path}: {width} and {height} must be 1 to {MAX_SIDE} pixels, not {side!r}")
    return round(sides[0]), round(sides[1])  # type: ignore[arg-type]


def numbers(values: Sequence[Any], where: Path | str, what: str) -> NDArray[np.float64]:
    """A list of JSON values as finite numbers."""
    if not all(type(value) in (int, float) for value in values):
        raise DataError(f"{where}: {what} must be numbers")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # a whole number beyond any float
        array = np.array([np.inf])
    return _finite(array, where)


def _best(people: list[tuple[float, Joints]], path: Path) -> Joints:
    if not any(count(joints) for _, joints in people):
        raise DataError(f"{path}: no person in it")
    return max(people, key=lambda person: (count(person[1]), person[0]))[1]


def _read_table(path: Path, columns: int) -> NDArray[np.float64]:
    """Rows of numbers in a text file, (N, columns)."""
    lines = [line.split() for line in _read_bytes(path, MAX_TEXT_BYTES).splitlines() if line.strip()]
    for line in lines:
        if len(line) != columns:
            raise DataError(f"{path}: a row has {len(line)} numbers, expected {columns}")
    try:
        rows = [[float(word) for word in line] for line in lines]
    except ValueError:
        raise DataError(f"{path}: expected nothing but numbers") from None
    return _finite(np.array(rows, np.float64).reshape(len(rows), columns), path)


def _finite(array: NDArray[np.float64], where: Path | str) -> NDArray[np.float64]:
    if not (np.abs(array) < np.finfo(np.float32).max).all():
        raise DataError(f"{where}: expected finite numbers")
    return array


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise DataError(f"{path}: larger than {limit >> 20} MiB, which no file of poses is")
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
