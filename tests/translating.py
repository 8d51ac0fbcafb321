"""What the tests of translate-dir share: conditions, photos, and looking at an OUT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image
from tiny_weights import SPEC as SPEC
from tiny_weights import make_weights as make_weights

from mcltool.cli.main import cli
from mcltool.translate.plan import Task

OWN = {"manifest.jsonl", "job.json"}
"""What a job says of itself."""


def make_condition(path: Path, size: tuple[int, int] = (32, 32), label: int = 1) -> None:
    """Background above, one class below."""
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 2 :] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def make_photo(path: Path, seed: int = 0, size: tuple[int, int] = (40, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def run(*options: str, conditions: str = "masks", exemplars: str = "photos", out: str = "out") -> Result:
    command = ["translate-dir", conditions, exemplars, out, "--device", "cpu"]
    precision = [] if "--precision" in options else ["--precision", "fp32"]
    return CliRunner().invoke(cli, [*command, *precision, *options])


def manifest(out: Path, name: str = "manifest.jsonl") -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / name).read_text().splitlines()]
    assert len({line["input"] for line in lines}) == len(lines), "an input has two lines"
    return {line["input"]: line for line in lines}


def statuses(out: Path) -> list[str]:
    return [line["status"] for _, line in sorted(manifest(out).items())]


def files(out: Path) -> dict[str, bytes]:
    """Everything below a folder but what the job says of itself, hidden files too."""
    found = (path for path in out.rglob("*") if path.is_file() and path.name not in OWN)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


SIZES = [(32, 32), (32, 48), (32, 32), (48, 32), (32, 32), (32, 32), (32, 48)]
COUNT = 22


def make_numbered(folder: Path) -> Path:
    """22 conditions of three sizes and 22 photos of two, by name, and weights: batches of 2 have windows of 8."""
    for number in range(COUNT):
        make_condition(folder / "masks" / f"{number:02d}.png", SIZES[number % len(SIZES)], 1 + number % 5)
        make_photo(folder / "photos" / f"{number:02d}.png", number, (40, 40) if number % 3 else (40, 64))
    return make_weights(folder / "runs" / "shapes-1" / "weights.safetensors")


def task_of(path: str) -> Task:
    return Task(0, "", "", "", (path,))
