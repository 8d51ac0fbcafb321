"""Exemplar retrieval (mcltool pair) on shapes with planted near-duplicates: is the right one first; time, memory.

    OMP_NUM_THREADS=2 PYTHONPATH=.:plugins python tests/bench/retrieval.py [--count N] [--planted P] [--workers W]

The data set is N samples of shapes, P of which are there twice: the second one cropped by up to 4% a side,
brightened or darkened by up to 10%, with noise (standard deviation 4) and as a JPEG of quality 80. Each twin asks
for its nearest; right is the other twin. Groups of shapes share their style, so that colours alone do not tell.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from mcltool_shapes import ShapesPlugin

from mcltool import Condition, Sample

RESULTS = Path(__file__).parent / "results"
TWIN = "train/9"
"""What a twin's number begins with, of nine digits in all."""


class Planted(ShapesPlugin):
    """Shapes, in which numbers 9xxxxxxxx are near-duplicates of x."""

    def photo(self, sample: Sample, short_side: int) -> np.ndarray:
        if not sample.id.startswith(TWIN):
            return super().photo(sample, short_side)
        draw, photo = self._altered(sample), super().photo(_original(sample), short_side + short_side // 8)
        photo = _crop(photo, draw).astype(np.float32) * draw.uniform(0.9, 1.1)
        photo = (photo + draw.normal(0, 4, photo.shape)).clip(0, 255).astype(np.uint8)
        _, file = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]

    def condition(self, sample: Sample, short_side: int) -> Condition:
        if not sample.id.startswith(TWIN):
            return super().condition(sample, short_side)
        labels = super().condition(_original(sample), short_side + short_side // 8).raster
        cropped = np.ascontiguousarray(_crop(labels, self._altered(sample)))
        return Condition(cropped.shape, cropped)

    def _altered(self, sample: Sample) -> np.random.Generator:
        return np.random.default_rng([1, int(sample.id.partition("/")[2])])


def _original(sample: Sample) -> Sample:
    return Sample(f"train/{int(sample.id.partition('/')[2]) - 900_000_000:06d}")


def _crop(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Cut up to 4% off each side."""
    side = picture.shape[0]
    left, right, above, below = draw.integers(0, round(0.04 * side) + 1, 4)
    return picture[above : side - below, left : side - right]


def watch_memory(stop: threading.Event, own: list[float], workers: list[float]) -> None:
    """Anonymous memory (what cannot be dropped) of this process, and of each of its workers, in MiB."""

    def anonymous(pid: int | str) -> float:
        return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

    while not stop.wait(0.2):
        own.append(anonymous("self"))
        for children in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(OSError, IndexError):  # one that just ends
                workers += [anonymous(pid) for pid in children.read_text().split()]


def main() -> None:
    import torch  # not above: workers import this file

    from mcltool.data.retrieval import nearest, retrieve

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--planted", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "retrieval.json")
    options = parser.parse_args()
    originals = options.count - options.planted
    samples = [Sample(f"train/{n:06d}") for n in range(originals)]
    twins = np.random.default_rng(0).choice(originals, options.planted, replace=False)
    samples += [Sample(f"train/{900_000_000 + n}") for n in twins.tolist()]

    stop, seen, workers, marks = threading.Event(), [], [0.0], []
    threading.Thread(target=watch_memory, args=(stop, seen, workers), daemon=True).start()
    time.sleep(1)
    before, start, done = seen[-1], time.monotonic(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done >= options.count and not marks:
            marks.append(time.monotonic())

    found = retrieve(Planted(), samples, 5, "plain", torch.device("cpu"), options.workers, advance)
    end = time.monotonic()
    stop.set()

    partner = np.full(len(samples), -1)
    partner[originals:], partner[twins] = twins, np.arange(originals, len(samples))
    asked = partner >= 0
    first = (found[asked, 0] == partner[asked]).mean()
    among = (found[asked] == partner[asked, None]).any(1).mean()
    result = {
        "samples": options.count,
        "planted": options.planted,
        "first": round(float(first), 5),
        "among_five": round(float(among), 5),
        "describe_s": round(marks[0] - start, 1),
        "search_s": round(end - marks[0], 1),
        "workers": options.workers,
        "threads": torch.get_num_threads(),
        "extra_memory_mib": round(max(seen) - before),
        "worker_memory_mib": round(max(workers)),
    }
    check = np.random.default_rng(1).standard_normal((3000, 64)).astype(np.float32)
    exact = ((check[:50, None].astype(np.float64) - check[None]) ** 2).sum(2)
    np.fill_diagonal(exact, np.inf)
    assert (nearest(check, 5, torch.device("cpu"))[:50] == exact.argsort(1)[:, :5]).all()
    print(json.dumps(result, indent=2))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
