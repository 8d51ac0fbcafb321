"""How fast each first-party plugin reads, in images a second of one core; and how fast poses are drawn.

    OMP_NUM_THREADS=1 PYTHONPATH=.:plugins python tests/bench/readers.py [--samples DIR] [--seconds S]

An image is a photo and its condition, decoded for 256 px and rendered at the size they were read at; training
adds geometry to that. Data: DIR/NAME (default: ../shared/real-samples) where it is there; poses are also made
up. Time is the process's own, so that a busy machine does not count; files come from the page cache.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mcltool import Condition, DatasetPlugin, McltoolError, Sample
from mcltool.core.process import keep_freed_memory

REPOSITORY = Path(__file__).parents[2]
SHORT_SIDE = 286
"""What the loader asks for at 256 px."""


def first_party() -> Iterator[DatasetPlugin]:
    """Every plugin in plugins/, installed or not."""
    for package in sorted((REPOSITORY / "plugins").glob("mcltool_*")):
        module = importlib.import_module(package.name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, DatasetPlugin) and found is not DatasetPlugin:
                yield found()


def rate(work: Callable[[int], object], seconds: float) -> float:
    """Calls a second of processor time, after a warm-up; ``work`` is given 0, 1, 2, ..."""
    work(0)
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        work(calls)
        calls += 1
    return calls / spent


def bench_reading(plugin: DatasetPlugin, samples: list[Sample], note: str, seconds: float) -> None:
    def take(step: Callable[[Sample], object]) -> float:
        return rate(lambda n: step(samples[n % len(samples)]), seconds)

    conditions = [plugin.condition(sample, SHORT_SIDE) for sample in samples[:16]]
    photo = take(lambda sample: plugin.photo(sample, SHORT_SIDE))
    condition = take(lambda sample: plugin.condition(sample, SHORT_SIDE))
    render = rate(lambda n: plugin.render(conditions[n % len(conditions)]), seconds)
    together = 1 / (1 / photo + 1 / condition + 1 / render)
    print(f"{plugin.name:14}{together:10.0f}{photo:10.0f}{condition:12.0f}{render:10.0f}  {note}")


def some_samples(plugin: DatasetPlugin, root: Path | None) -> list[Sample]:
    return [sample for split in ("train", "val") for sample in plugin.index(root, split)[:64]]


def make_poses(root: Path, number: int = 64) -> None:
    """A deepfashion folder of noise photos at 256 px and poses as OpenPose text."""
    generator = np.random.default_rng(0)
    for n in range(number):
        stem = f"WOMEN/Dresses/id_{n:08d}/01_1_front"
        for top in ("img", "pose"):
            (root / top / stem).parent.mkdir(parents=True)
        blobs = cv2.resize(generator.integers(0, 256, (24, 24, 3), np.uint8), (256, 256))
        Image.fromarray(blobs).save(root / "img" / f"{stem}.jpg", quality=90)
        rows = [f"{x} {y} 0.9 {row}" for row, (x, y) in enumerate(generator.integers(0, 256, (18, 2)))]
        (root / "pose" / f"{stem}_candidate.txt").write_text("\n".join(rows))
        (root / "pose" / f"{stem}_subset.txt").write_text(" ".join(map(str, range(18))) + " 16.2 18")


def bench_drawing(plugin: DatasetPlugin, seconds: float) -> None:
    """A standing person with all 18 joints, moved a little each time."""
    person = np.array(
        [
            [50, 10], [51, 22], [40, 23], [36, 40], [34, 55], [62, 24], [66, 41], [68, 56], [44, 60],
            [43, 80], [42, 97], [58, 61], [59, 81], [60, 98], [47, 7], [53, 6], [43, 9], [57, 8],
        ],
        np.float32,
    )  # fmt: skip
    for side in (64, 256, 512):
        sway = np.random.default_rng(0).normal(0, 2, (16, 18, 2))
        poses = [((person + shift) * side / 100).astype(np.float32) for shift in sway]

        def draw(n: int, side: int = side, poses: list[np.ndarray] = poses) -> object:
            return plugin.render(Condition((side, side), points=poses[n % 16]))

        print(f"{plugin.name}: {rate(draw, seconds):.0f} poses a second drawn at {side} x {side}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, default=REPOSITORY.parent / "shared" / "real-samples")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="processor time a measurement (default: 1)"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()  # as every command does; without, photos take up to twice as long, as the heap happens to lie
    print(f"{'plugin':14}{'images/s':>10}{'photo/s':>10}{'condition/s':>12}{'render/s':>10}")
    for plugin in first_party():
        root = options.samples / plugin.name.removesuffix("-mask") if plugin.needs_root else None
        if root is None or root.is_dir():
            try:
                samples = some_samples(plugin, root)
                bench_reading(
                    plugin, samples, f"{len(samples)} samples of {root or 'its own'}", options.seconds
                )
            except McltoolError as error:
                print(f"{plugin.name:14}not measured: {error}")
        else:
            print(f"{plugin.name:14}not measured: no {root}")
        if plugin.name == "deepfashion":
            with tempfile.TemporaryDirectory() as folder:
                make_poses(Path(folder))
                made_up = some_samples(plugin, Path(folder))
                bench_reading(plugin, made_up, f"{len(made_up)} made up", options.seconds)
            bench_drawing(plugin, options.seconds)


if __name__ == "__main__":
    main()
