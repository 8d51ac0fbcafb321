"""What tests of the plugin deepfashion share: a person, and files of poses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mcltool_deepfashion import DeepFashionPlugin
from PIL import Image

from mcltool import Condition
from mcltool.poses.pose import NAMES

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


def add_photo(root: Path, name: str, size: tuple[int, int] = (100, 80), **how: Any) -> Path:
    path = root / "img" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "grey").save(path, **how)
    return path
