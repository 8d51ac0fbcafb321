"""What is fuzzed: for every reader, the files it starts from and the call that reads them.

A reader may do two things with what is in ``folder``: read it, or raise a McltoolError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from mcltool_celebahq import CelebAHQMaskPlugin, CelebAHQPlugin
from mcltool_celebahq.splits import choose
from mcltool_deepfashion import DeepFashionPlugin
from mcltool_shapes import ShapesPlugin

from mcltool import DatasetPlugin, McltoolError, Sample, read_labels, read_photo
from mcltool.core.config import Config, parse_setting, read_toml, resolve

from . import seeds
from .mutate import Files


@dataclass(frozen=True)
class Target:
    """seeds: sound files to start from. read: the reader, given the folder they are in.

    share: of all inputs. torch: whether it needs torch, which takes seconds to import and much address space.
    """

    seeds: Callable[[], list[Files]]
    read: Callable[[Path], object]
    share: float = 1.0
    torch: bool = False


def _only(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def _photo(folder: Path) -> None:
    path = _only(folder)
    for short_side in (0, 8):
        photo = read_photo(path, short_side)
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert photo.shape[2] == 3


def _labels(folder: Path) -> None:
    spec = ShapesPlugin().spec
    found = read_labels(_only(folder), spec.channels, spec.palette)
    assert found.dtype == np.uint8
    assert found.max() < spec.channels


def _condition(plugin: DatasetPlugin, limit: int = 8) -> Callable[[Path], None]:
    """Find and read conditions as translate-dir does, without its net for the plugin's own mistakes."""

    def read(folder: Path) -> None:
        from mcltool.translate.plan import Conditions
        from mcltool.translate.reader import network_size, prepare_condition

        conditions = Conditions(plugin, folder)
        for number in range(min(limit, len(conditions))):
            files, part = conditions.files(number)
            try:
                found = plugin.read_part([Path(path) for path in files], part)
                prepare_condition(plugin, found, network_size(found.size, 32))
            except McltoolError:
                continue

    return read


def _garments(folder: Path) -> None:
    for name in ("WOMEN/Tees/id_1/01_1_front", "WOMEN/Tees/id_2/02_1_front"):
        for path in (folder / "img" / f"{name}.jpg", folder / "pose" / f"{name}_keypoints.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for split in ("train", "val"):
        DeepFashionPlugin().index(folder, split)


def _toml(folder: Path) -> None:
    found = read_toml(_only(folder))
    resolve("shapes", str(found.pop("preset", "tiny")), found)


def _set(folder: Path) -> None:
    for line in islice(_only(folder).read_text("utf-8", "replace").splitlines(), 40):
        resolve("shapes", "tiny", dict([parse_setting(line)]))


def _config(folder: Path) -> None:
    from mcltool.train.run_folder import RunFolder

    config = RunFolder(folder).config()
    assert Config.from_json(config.to_json()) == config


def _run(folder: Path) -> None:
    from mcltool.train.run_folder import RunFolder
    from mcltool.train.runs import facts, overview

    run = RunFolder(folder)
    try:
        overview(run)
        facts(run)
    finally:
        run.forget_after(10)


def _checkpoints(folder: Path) -> None:
    from mcltool.train.checkpoints import best, newest_whole

    newest_whole(folder / "checkpoints")
    best(folder / "checkpoints")


def _weights(folder: Path) -> None:
    from mcltool.core.weights import read_header, summary

    path = _only(folder)
    found = read_header(path)
    assert type(found).__name__ == "WeightsHeader"
    summary(path)


def _model(folder: Path) -> None:
    from mcltool.core.weights import load_model

    load_model(_only(folder))


def _manifest(folder: Path) -> None:
    from mcltool.translate.manifest import merge, summary

    summary(folder)
    (folder / "scratch").mkdir()
    try:
        merge(folder, folder / "scratch")
    finally:
        (folder / "scratch").rmdir()
    summary(folder)


def _ledger(folder: Path) -> None:
    """Resuming from whatever lies in OUT."""
    from mcltool.translate.folder import Ledger
    from mcltool.translate.manifest import PATTERN
    from mcltool.translate.names import Pairs
    from mcltool.translate.plan import Conditions, Exemplars, Plan

    work = folder.with_name(f"{folder.name}-inputs")
    for name in (*(f"masks/{n}.png" for n in range(4)), "photos/style.jpg"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    conditions = Conditions(ShapesPlugin(), work / "masks")
    pairs = Pairs(np.arange(4, dtype=np.int32), np.zeros(4, np.int32))
    plan = Plan(conditions, Exemplars(work / "photos"), pairs)
    path = next(iter(sorted(folder.glob(PATTERN))), folder / "manifest.jsonl")
    ledger = Ledger(plan, folder, path, np.ones(4, bool), "a" * 64, "b" * 16)
    list(ledger.failed_before())
    (folder / "scratch").mkdir()
    ledger.write(folder / "scratch", absorb=True)


def _job(folder: Path) -> None:
    from mcltool.translate.settings import Settings, pinned

    Settings().completed(folder, "a" * 64).digest()
    pinned("hf://lab/gardens", folder)


def _table(folder: Path) -> None:
    from mcltool.translate.names import read_list

    inputs, exemplars = ["a.png", "b.png", "c.png"], ["x.jpg", "y/z.png"]
    found = read_list(_only(folder), [name[:-4] for name in inputs], inputs, exemplars)
    chosen = [*zip(*(indices.tolist() for indices in found[:2]), strict=True)]
    assert chosen == sorted(
        set(chosen)
    )  # rows of names that are not there are left out; a list without any is refused
    assert chosen
    assert set(found[0].tolist()) <= {0, 1, 2}
    assert set(found[1].tolist()) <= {0, 1}


def _list(folder: Path) -> None:
    from mcltool.data.pairs import Names, match_names, read_pairs

    called = Names.of([Sample(f"img/{name}", Path(f"{name}.jpg")) for name in "abcd"])
    for row in match_names(read_pairs(_only(folder)), called, called)[0]:
        assert all(number is None or 0 <= number < 4 for number in row)


def _pack(folder: Path) -> None:
    """As training and ``pack check|info`` do."""
    from mcltool.data.pack import PackedDataset, check_pack, describe_pack, read_header

    path = _only(folder)
    header = read_header(path)
    dataset = PackedDataset(seeds.Tiny("labels" if header.spec.kind == "labels" else "points"), path)
    describe_pack(path)
    for split in list(header.samples)[:2]:
        samples = dataset.index(None, split)
        for row in dataset.retrieved(split) or []:
            assert all(number < len(samples) for number in row)
        for sample in samples[:3]:
            photo, condition = dataset.photo(sample, 0), dataset.condition(sample, 0)
            assert photo.shape[:2] == condition.size
    list(islice(check_pack(path), 20))


def _scores(folder: Path) -> None:
    from mcltool.evaluate.scores import Scores, compare

    found = Scores.read(_only(folder))
    compare(found, found)


TARGETS: dict[str, Target] = {
    "photo": Target(seeds.photos, _photo, 5),
    "labels": Target(lambda: seeds.labels(6), _labels, 2),
    "drawing": Target(seeds.drawings, _condition(CelebAHQPlugin())),
    "face-parts": Target(seeds.part_masks, _condition(CelebAHQMaskPlugin())),
    "face-lists": Target(
        seeds.face_lists, lambda folder: [choose(range(3), [folder], split) for split in ("train", "val")]
    ),
    "openpose": Target(seeds.openpose, _condition(DeepFashionPlugin()), 2),
    "coco": Target(seeds.coco, _condition(DeepFashionPlugin()), 2),
    "pose-files": Target(seeds.pose_files, _condition(DeepFashionPlugin()), 2),
    "text-pose": Target(seeds.text_poses, _condition(DeepFashionPlugin())),
    "garment-lists": Target(seeds.garments, _garments),
    "toml": Target(seeds.settings, _toml, 2),
    "set": Target(seeds.assignments, _set),
    "config": Target(seeds.configs, _config, 2),
    "run": Target(seeds.runs, _run),
    "checkpoints": Target(seeds.runs, _checkpoints, torch=True),
    "weights": Target(seeds.weights, _weights, 3),
    "model": Target(seeds.models, _model, 0.2, torch=True),
    "manifest": Target(seeds.manifests, _manifest, 2),
    "resume": Target(seeds.manifests, _ledger),
    "job": Target(seeds.jobs, _job),
    "pairs-csv": Target(seeds.tables, _table),
    "pairs-list": Target(seeds.lists, _list),
    "pack": Target(seeds.packs, _pack, 2),
    "scores": Target(seeds.scores, _scores),
}


@cache
def seeds_of(name: str) -> list[Files]:
    return TARGETS[name].seeds()


def read(name: str, folder: Path) -> str:
    """Have the reader ``name`` read; "" where it could, else what it refused. Other errors are let through."""
    try:
        TARGETS[name].read(folder)
        return ""
    except McltoolError as error:
        return str(error) or "nothing said"


def write(files: Files, folder: Path) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
