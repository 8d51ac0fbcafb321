"""How fast samples come: from files, from a pack, and by bare h5py from the pack; and how fast training takes them.

    OMP_NUM_THREADS=1 PYTHONPATH=.:plugins python tests/bench/loader.py [--workers 0 1 2] [--plugins NAME ...]

Reading: photo and condition of samples in random order, by worker processes, which send back nothing but a count.
"bare" is h5py's read_direct of the same arrays into memory that is there already. Loading: all that the CPU does
for training, with exemplar and geometry, to batches in this process, ready to be copied to a device; all exemplars
retrieved. --workers 0 measures both, and apart from them what the device does with a batch (here it is this CPU), as
milliseconds of processor time a sample in one process; --workers 1 and 2 measure rates by the clock.

Data: the few real samples (default: ../shared/real-samples), linked under new names until there are N; shapes
draws its own. Everything is in the page cache. The variants take turns, R rounds of S seconds each; a rate is the
median of the rounds, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from mcltool import DatasetPlugin, Sample
from mcltool.core.config import Config, resolve
from mcltool.core.process import keep_freed_memory
from mcltool.data.dataset import TrainingData
from mcltool.data.geometry import load_size
from mcltool.data.loader import SampleStream, load, training_loader
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack
from mcltool.data.reading import read_view
from mcltool.plugin import registry as plugins

REPOSITORY = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
NAMES = ("shapes", "ade20k", "celebahq", "celebahq-mask", "deepfashion")
BATCH = 8
TRAINING = {"tiny": ("tiny, 64 px, batch 8", 10, 8), "base": ("base, 256 px, batch 1", 3, 1)}
"""Name, steps and samples a step of what is timed."""


def repeated(plugin: DatasetPlugin, samples: Path, count: int, to: Path) -> Path | None:
    """A folder of ``count`` samples, links to the real ones of the plugin."""
    name = plugin.name.removesuffix("-mask")
    source = samples / name
    for number in range(count if plugin.needs_root else 0):
        if name == "ade20k":
            photos = sorted((source / "images").rglob("*.jpg"))
            photo = photos[number % len(photos)]
            mask = next((source / "annotations").rglob(f"{photo.stem}.png"))
            link(photo, to / "images" / "training" / f"{number:06d}.jpg")
            link(mask, to / "annotations" / "training" / f"{number:06d}.png")
        elif name == "celebahq":
            photos = sorted((source / "CelebA-HQ-img").glob("*.jpg"))
            photo = photos[number % len(photos)]
            link(photo, to / "CelebA-HQ-img" / f"{number}.jpg")
            for part in (source / "CelebAMask-HQ-mask-anno").rglob(f"{int(photo.stem):05d}_*.png"):
                kind = part.name.partition("_")[2]
                link(part, to / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{kind}")
        else:
            photos = sorted((source / "img").rglob("*.jpg"))
            photo = photos[number % len(photos)]
            stem = f"WOMEN/Dresses/id_{number:08d}/01_1_front"
            link(photo, to / "img" / f"{stem}.jpg")
            for kind in ("candidate", "subset"):
                own = photo.relative_to(source / "img").with_name(f"{photo.stem}_{kind}.txt")
                link(source / "pose" / own, to / "pose" / f"{stem}_{kind}.txt")
    return to if plugin.needs_root else None


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


class Reading:
    """A data set whose batches are read and dropped."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        self.read = read

    def __getitems__(self, numbers: list[int]) -> int:
        for number in numbers:
            self.read(number)
        return len(numbers)


class Viewed:
    def __init__(self, plugin: DatasetPlugin, samples: list[Sample], short_side: int) -> None:
        self.plugin, self.samples, self.short_side = plugin, samples, short_side

    def __call__(self, number: int) -> None:
        read_view(self.plugin, self.samples[number], self.short_side)


class Bare:
    """h5py alone: read_direct into arrays that are there."""

    def __init__(self, path: Path, samples: list[Sample]) -> None:
        self.path, self.parts = path, [sample.part.rpartition("/") for sample in samples]
        self.file: h5py.File | None = None

    def __call__(self, number: int) -> None:
        if self.file is None:
            self.file = h5py.File(self.path, "r", rdcc_nbytes=0, locking=False)
            self.arrays = {name: list(self.file[name].values()) for name in {part[0] for part in self.parts}}
            self.targets = {
                name: [np.empty(array.shape[1:], array.dtype) for array in arrays]
                for name, arrays in self.arrays.items()
            }
        bucket, _, row = self.parts[number]
        for array, target in zip(self.arrays[bucket], self.targets[bucket], strict=True):
            array.read_direct(target, np.s_[int(row)])


def endless(count: int) -> Iterator[list[int]]:
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(count).tolist()
        yield from (order[first : first + BATCH] for first in range(0, count - BATCH + 1, BATCH))


def reading_batches(read: Callable[[int], Any], count: int, workers: int) -> Iterator[int]:
    loader = DataLoader(
        Reading(read), batch_sampler=endless(count), num_workers=workers, collate_fn=lambda number: number,
        worker_init_fn=lambda worker: cv2.setNumThreads(0),
    )  # fmt: skip
    return iter(loader)


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Samples a second of the wall clock."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        next(batches)
        done += BATCH
    return done / spent


def milliseconds(work: dict[str, Callable[[int], Any]], count: int, rounds: int) -> dict[str, Any]:
    """Processor time of each, in this process, in turns: the median of ``rounds`` passes over 16 samples."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(-1, rounds):
        for name, step in work.items():
            start = time.process_time()
            for number in range(16):
                step((16 * turn + number) % count)
            if turn >= 0:
                found[name].append((time.process_time() - start) / 16 * 1e3)
    return {
        name: {"ms": round(median(times), 3), "spread": [round(min(times), 3), round(max(times), 3)]}
        for name, times in found.items()
    }


def in_turns(variants: dict[str, Iterator[Any]], workers: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Rates, and each one's ratio to the first's. One variant at a time is asked; the others' workers idle."""
    for batches in variants.values():
        for _ in range(3 * workers):  # workers are up
            next(batches)
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, batches in variants.items():
            for _ in range(2 * workers + 1):  # what was loaded ahead meanwhile is not counted
                next(batches)
            found[name].append(rate(batches, seconds))
    base = found[next(iter(variants))]
    return {
        name: {
            "rate": round(median(rates), 1),
            "spread": [round(min(rates), 1), round(max(rates), 1)],
            "ratio": round(median(a / b for a, b in zip(rates, base, strict=True)), 5),
        }
        for name, rates in found.items()
    }


def bench_plugin(plugin: DatasetPlugin, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    config = resolve(plugin.name, "paper", plugin.defaults).data
    root = repeated(plugin, options.samples, options.count, folder / plugin.name)
    samples = list(plugin.index(root, "train"))
    if plugin.name != "ade20k":  # others choose some of the photos for "val" themselves
        samples += plugin.index(root, "val")
    samples = samples[: options.count]
    out = folder / f"{plugin.name}.h5"
    for _ in pack(plugin, {"train": samples}, out, PackOptions(load_size(config))):
        pass
    packed = PackedDataset(plugin, out)
    packed_samples, count = packed.index(None, "train"), len(samples)
    short_side = max(load_size(config))
    lists = [[(n + 1) % count, (n + 2) % count] for n in range(count)]
    result: dict[str, Any] = {"samples": count, "megabytes": round(out.stat().st_size / 1e6, 1)}
    readers = {
        "bare": Bare(out, packed_samples),
        "pack": Viewed(packed, packed_samples, short_side),
        "files": Viewed(plugin, samples, short_side),
    }
    data = {
        "pack": TrainingData(packed, packed_samples, config, 0, lists),
        "files": TrainingData(plugin, samples, config, 0, lists),
    }
    for workers in options.workers:
        if workers == 0:
            result["reading, ms"] = milliseconds(readers, count, options.rounds)
            items = {name: found.item for name, found in data.items()}
            result["loading, ms"] = milliseconds(items, count, options.rounds)
            result["device, ms"] = milliseconds(arrival(data["pack"]), count, options.rounds)
            continue
        variants = {name: reading_batches(read, count, workers) for name, read in readers.items()}
        result[f"reading, {workers} workers"] = in_turns(variants, workers, options.seconds, options.rounds)
        stream = SampleStream(0, 10**9, 0, 1, BATCH)
        loaded = {name: load(found, stream, workers, pinned=False) for name, found in data.items()}
        result[f"loading, {workers} workers"] = in_turns(loaded, workers, options.seconds, options.rounds)
    return result


def arrival(data: TrainingData) -> dict[str, Callable[[int], Any]]:
    """What the device does with batches of one sample."""
    batches = list(load(data, SampleStream(0, 16, 0, 1, 1), 0, pinned=False))
    return {"pack": lambda number: data.arrive(batches[number % 16])}


def consumption(preset: str, steps: int, batch: int) -> float:
    """Samples a second that a whole training step takes (all networks and terms on), on this machine."""
    from mcltool.core.device import pick_precision
    from mcltool.model.vgg import random_vgg
    from mcltool.train.trainer import Trainer

    plugin = plugins.load("shapes")
    whole = {"train.generator_start": 0.0, "train.gan_start": 0.0, "train.batch_size": batch}
    config: Config = resolve("shapes", preset, whole)
    data = TrainingData(plugin, plugin.index(None, "train"), config.data, 0)
    batches = list(training_loader(data, SampleStream(0, 1, 0, 1, batch), 0, "cpu"))
    phi = None if preset == "tiny" else random_vgg()
    device = torch.device("cpu")
    trainer = Trainer(config, plugin.spec, device, pick_precision("auto", device), 100, phi)
    trainer.step(*batches)
    start = time.perf_counter()
    for _ in range(steps):
        trainer.step(*batches)
    return batch * steps / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, default=REPOSITORY.parent / "shared" / "real-samples")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--workers", type=int, nargs="*", default=(0, 1, 2))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plugins", nargs="*", default=NAMES)
    parser.add_argument(
        "--training", nargs="*", default=tuple(TRAINING), help="presets whose steps are timed"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "loader.json")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    keep_freed_memory()  # as every command of mcltool does
    result: dict[str, Any] = {"cores": os.cpu_count(), "size": 256, "plugins": {}}
    if options.out.exists():  # what is not asked for this time stays
        result = json.loads(options.out.read_text())
    print(f"{'plugin':15}{'':20}{'files':>10}{'pack':>10}{'bare':>10}{'pack/bare':>11}{'pack/files':>12}")
    with tempfile.TemporaryDirectory() as name:
        for plugin in map(plugins.load, options.plugins):
            if plugin.needs_root and not (options.samples / plugin.name.removesuffix("-mask")).is_dir():
                print(f"{plugin.name:15}not measured: no {options.samples}")
                continue
            found = bench_plugin(plugin, options, Path(name))
            result["plugins"].setdefault(plugin.name, {}).update(found)
            for row in [key for key in found if "," in key]:
                show(plugin.name, row, found[row])
            write(options.out, result)
    for preset in options.training:
        name, steps, batch = TRAINING[preset]
        consumed = round(consumption(preset, steps, batch), 4)
        result.setdefault("training_consumes", {})[f"{name}, {torch.get_num_threads()} threads"] = consumed
        print(f"{name}: {consumed} samples a second")
        write(options.out, result)


def write(out: Path, result: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


def show(name: str, row: str, found: dict[str, Any]) -> None:
    """A line of the table. Ratios are of speeds."""
    unit = "ms" if "ms" in row else "rate"
    cells = {variant: values[unit] for variant, values in found.items()}
    speeds = {
        variant: 1 / values["ms"] if unit == "ms" else values["ratio"] for variant, values in found.items()
    }
    shown = "".join(
        f"{cells[variant]:10.{3 if unit == 'ms' else 0}f}" if variant in cells else " " * 10
        for variant in ("files", "pack", "bare")
    )
    to_bare = f"{speeds['pack'] / speeds['bare']:11.2f}" if "bare" in speeds else " " * 11
    to_files = f"{speeds['pack'] / speeds['files']:12.1f}" if "files" in speeds else ""
    print(f"{name:15}{row:20}{shown}{to_bare}{to_files}", flush=True)


if __name__ == "__main__":
    main()
