"""Packs: the batches of the files, whole after any interruption, and nothing believed that is not so."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import mcltool.data.pack
from mcltool.cli import cli
from mcltool.config import DataConfig
from mcltool.data.contract import Condition, ConditionSpec, DatasetPlugin, Sample
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, PackStep, pack
from mcltool.errors import DataError, McltoolError, UsageError

CONFIG = DataConfig(size=(32, 64), load_scale=1.25, flip=True, exemplar_self=0.3)
LOADED = (40, 80)
"""32 x 64 pixels times 1.25."""
SIZES = [(90, 120), (60, 130), (120, 90), (90, 120), (40, 80), (77, 91), (90, 120)]
GROUPS = ["g", "g", "", "", "h", "h", "g"]
PALETTE = ((0, 0, 0), (9, 9, 9), (99, 0, 0))


class Album(DatasetPlugin):
    """Noise photos of several sizes, with conditions of one kind: labels, drawing (smooth planes), joints,
    or drawn joints, which are drawn on the device."""

    name = "album"
    version = "3"
    needs_root = False

    def __init__(self, kind: str = "labels") -> None:
        self.kind = kind
        if kind == "drawn joints":
            self.draw_points = dots

    @property
    def spec(self) -> ConditionSpec:
        return ConditionSpec("labels" if self.kind == "labels" else "channels", ("a", "b", "c"), PALETTE)

    def index(self, root: Path | None, split: str) -> list[Sample]:
        count = len(SIZES) if split == "train" else 3
        return [Sample(f"{split}/ä{n}", group=GROUPS[n]) for n in range(count)]

    def read_condition(self, files):
        raise NotImplementedError

    def photo(self, sample, short_side):
        number = int(sample.id[-1])
        return np.random.default_rng(number).integers(0, 256, (*SIZES[number], 3), np.uint8)

    def condition(self, sample, short_side):
        number = int(sample.id[-1])
        size = (SIZES[number][0] // 2, SIZES[number][1] // 2)
        draw = np.random.default_rng(100 + number)
        if self.kind == "labels":
            return Condition(size, draw.integers(0, 3, size, np.uint8), mirror=((1, 2),))
        if self.kind == "drawing":
            return Condition(size, draw.integers(0, 256, (*size, 3), np.uint8), smooth=True)
        points = (draw.random((5, 2)) * size[::-1]).astype(np.float32)
        points[number % 5] = np.nan
        return Condition(size, points=points, mirror=((0, 1), (2, 3)))

    def render(self, condition):
        if self.kind == "labels":
            return condition.raster
        if self.kind == "drawing":
            return condition.raster.astype(np.float32) / 255
        planes = np.zeros((*condition.size, 3), np.float32)
        for number, (x, y) in enumerate(np.nan_to_num(condition.points, nan=-1).round().astype(int)):
            if 0 <= x < condition.size[1] and 0 <= y < condition.size[0]:
                planes[y, x, number % 3] = 1
        return planes


def dots(xp, points, x, y):
    """Three of the joints, each a spot in a channel of its own."""
    apart = (x - points[:, :3, :1, None]) ** 2 + (y[:, None] - points[:, :3, 1:, None]) ** 2
    return xp.nan_to_num(xp.exp(-apart / 9), nan=0.0)


class Altered(Album):
    """Album with something else about it."""

    def __init__(self, version: str = "3", palette: tuple = PALETTE) -> None:
        super().__init__()
        self.version, self.palette = version, palette

    @property
    def spec(self) -> ConditionSpec:
        return replace(super().spec, palette=self.palette)


def packed(out: Path, plugin: DatasetPlugin | None = None, size=LOADED, **options) -> list[PackStep]:
    plugin = plugin or Album()
    splits = {split: plugin.index(None, split) for split in ("train", "val")}
    return list(pack(plugin, splits, out, PackOptions(size, **options)))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    packed(tmp_path / "album.h5")
    return tmp_path / "album.h5"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["pack", *map(str, args)])


def problems(path: Path) -> list[str]:
    """Which samples pack check finds broken."""
    result = run("check", path, "--json")
    found = [row["sample"] for row in json.loads(result.stdout)["problems"]]
    assert result.exit_code == (1 if found else 0)
    return found


def offset_in(path: Path, name: str, row: int) -> int:
    """Where in the file the middle of a sample's chunk is."""
    with h5py.File(path, "r") as file:
        place = file[name].id.get_chunk_info(row)
        return place.byte_offset + place.size // 2


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 255]))


def items(data) -> list[dict[str, torch.Tensor]]:
    return [data[n] for n in range(3 * len(SIZES))]


def alike(first, second) -> bool:
    return all(torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True) for name in a)


@pytest.mark.parametrize("kind", ["labels", "drawing", "joints", "drawn joints"])
@pytest.mark.parametrize("compression", ["none", "lzf", "gzip"])
def test_a_pack_gives_the_batches_of_the_files(kind: str, compression: str, tmp_path: Path) -> None:
    plugin, out = Album(kind), tmp_path / "album.h5"
    packed(out, plugin, compression=compression)
    dataset = PackedDataset(plugin, out)
    files = TrainingData(plugin, plugin.index(None, "train"), CONFIG, 7)
    assert alike(items(TrainingData(dataset, dataset.index(None, "train"), CONFIG, 7)), items(files))
    assert [path.name for path in tmp_path.iterdir()] == ["album.h5"]


def test_what_is_stored_is_the_resized_sample_itself(tmp_path: Path) -> None:
    """Read by h5py alone: photos of the covering size at their aspect, labels as indices, one chunk a sample."""
    out, plugin = tmp_path / "album.h5", Album()
    packed(out)
    covering = [
        (60, 80),
        (40, 87),
        (107, 80),
        (60, 80),
        (40, 80),
        (68, 80),
        (60, 80),
    ]  # by hand: 40 x 80, aspect kept
    with h5py.File(out, "r") as file:
        train = file["train"]
        assert [name.decode() for name in train["id"]] == [f"train/ä{n}" for n in range(7)]
        assert [name.decode() for name in train["group"]] == GROUPS
        for sample, size, (bucket, row) in zip(
            plugin.index(None, "train"), covering, train["place"], strict=True
        ):
            arrays = train[f"buckets/{bucket}"]
            assert arrays["photo"].shape[1:] == (*size, 3)
            assert arrays["photo"].chunks == (1, *size, 3)
            assert (arrays["raster"].shape[1:], arrays["raster"].dtype) == (size, np.uint8)
            if size == (40, 80):  # photo and pack are of one size: nothing may have touched it
                np.testing.assert_array_equal(arrays["photo"][row], plugin.photo(sample, 0))
            if sample.id.endswith("0"):  # 90 x 120 to 60 x 80 by area: each pixel is its mean over 1.5 x 1.5
                photo = plugin.photo(sample, 0).astype(np.float64)
                halves = photo.repeat(2, 0).repeat(2, 1).reshape(60, 3, 80, 3, 3).mean((1, 3))
                assert np.abs(arrays["photo"][row] - halves).max() <= 0.5 + 1e-6


def test_a_pack_is_read_in_the_processes_of_a_loader_and_in_this_one(album: Path) -> None:
    dataset = PackedDataset(Album(), album)
    data = TrainingData(dataset, dataset.index(None, "train"), CONFIG, 0)
    stream = SampleStream(0, 4, 0, 1, 4)
    alone = list(training_loader(data, stream, 0, "cpu"))  # this process holds the file open from here on
    forked = list(training_loader(data, stream, 2, "cpu"))
    assert all(torch.equal(a.photo, b.photo) for a, b in zip(alone, forked, strict=True))
    copied = pickle.loads(pickle.dumps(data))
    assert alike(items(copied), items(data))


def test_another_process_opens_the_file_anew(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it got over a fork is of HDF5's state in the process that opened it."""
    opened: list[Path] = []
    open_file = mcltool.data.pack.open_file
    monkeypatch.setattr("mcltool.data.pack.open_file", lambda path: opened.append(path) or open_file(path))
    dataset = PackedDataset(Album(), album)
    samples = dataset.index(None, "train")
    for sample in samples:
        dataset.photo(sample, 0)
    assert len(opened) == 1
    monkeypatch.setattr("os.getpid", lambda: -1)
    for sample in samples:
        dataset.condition(sample, 0)
    assert len(opened) == 2


def test_parts_of_several_shapes_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plugin = tmp_path / "album.h5", Album()
    monkeypatch.setattr("mcltool.data.packing.PART_SAMPLES", 2)
    steps = packed(out)
    assert [step.samples for step in steps] == [2, 2, 2, 1, 2, 1] * 2
    assert problems(out) == []
    dataset, files = PackedDataset(plugin, out), TrainingData(plugin, plugin.index(None, "train"), CONFIG, 7)
    assert alike(items(TrainingData(dataset, dataset.index(None, "train"), CONFIG, 7)), items(files))
    assert json.loads(run("info", out, "--json").stdout)["splits"]["train"]["shapes"] == 5


def test_a_larger_pack_serves_a_smaller_size_and_a_smaller_one_is_refused(
    tmp_path: Path, album: Path
) -> None:
    dataset = PackedDataset(Album(), album)
    for size, scale in (((32, 64), 1.25), ((32, 32), 1.0), ((32, 64), 1.0)):
        dataset.check_size(replace(CONFIG, size=size, load_scale=scale))
    small = replace(CONFIG, size=(32, 32), load_scale=1.0)
    item = TrainingData(dataset, dataset.index(None, "train"), small, 0)[0]
    assert item["photo"].shape == (3, 32, 32)
    for size in ((64, 64), (32, 96)):
        with pytest.raises(UsageError, match=r"packed at 40x80, training at .* pack anew with --size"):
            dataset.check_size(replace(CONFIG, size=size))


def test_held_out_pairs_come_from_a_pack_too(album: Path) -> None:
    dataset, plugin = PackedDataset(Album(), album), Album()
    files = EvaluationData(plugin, plugin.index(None, "val"), replace(CONFIG, load_scale=1.0))
    held_out = EvaluationData(dataset, dataset.index(None, "val"), CONFIG)
    assert len(held_out) == len(files) == 3
    assert [bool(held_out[n]["paired"]) for n in range(3)] == [bool(files[n]["paired"]) for n in range(3)]
    # Resized twice (to 40 x 80, then to 32 x 64) noise is not the same, but it is still the same noise.
    one, other = (data[0]["photo"].float().flatten() for data in (files, held_out))
    assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.8
    assert torch.corrcoef(torch.stack([one, held_out[1]["photo"].float().flatten()]))[0, 1] < 0.2


def test_packing_goes_on_after_a_kill(tmp_path: Path) -> None:
    out, parts = tmp_path / "shapes.h5", tmp_path / "shapes.h5.parts"
    command = ["pack", "--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "1", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "mcltool", *command])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers: list[int] = []
    while process.poll() is None and not list(parts.glob("*.h5")):
        workers = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = list(parts.glob("*.h5"))
    assert done, "the test was too slow to kill it"
    assert not out.exists()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they do not outlive it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (parts / ".left.h5.x.tmp").write_bytes(b"half")

    result = CliRunner().invoke(cli, command)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert result.stdout == f"{out}: 1000 samples, 512 of them from parts that were there, {size}\n"
    assert result.exit_code == 0
    assert problems(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.h5"]
    whole = tmp_path / "whole.h5"  # in one process, at one go
    run("--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "0", whole)
    assert whole.read_bytes() == out.read_bytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ade20k in miniature: two scenes a split."""
    home = tmp_path / "ade20k"
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (home / kind / split).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.full((48, 64), number, np.uint8)).save(
                home / "annotations" / split / f"{number}.png"
            )
            Image.new("RGB", (64, 48), (90, 60, 40)).save(home / "images" / split / f"{number}.jpg")
    return home


def test_broken_samples_are_named_and_the_rest_is_not_read_again(root: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "a.h5", root / "images" / "training" / "1.jpg"
    good = broken.read_bytes()
    broken.write_bytes(b"no photo")
    pack_it = ("--plugin", "ade20k", "--root", root, "--size", "36", "--workers", "0", out)
    result = run(*pack_it)
    assert result.exit_code == 1
    assert f"broken: 1: {broken}: not an image that can be read" in result.stdout
    assert "1 of 4 samples cannot be read" in result.stdout
    assert not out.exists()
    broken.write_bytes(good)
    result = run(*pack_it)
    assert result.exit_code == 0
    assert "4 samples, 2 of them from parts that were there" in result.stdout
    assert problems(out) == []


def test_only_what_changed_is_read_again(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcltool import plugins

    plugin = plugins.load("ade20k")

    def stages(stop: bool = False, size=(36, 36)) -> list[str]:
        splits = {split: plugin.index(root, split) for split in ("train", "val")}
        steps = pack(plugin, splits, tmp_path / "a.h5", PackOptions(size))
        return [next(steps).stage, next(steps).stage] if stop else [step.stage for step in steps]

    assert stages(stop=True) == ["read", "read"]
    assert stages(stop=True) == ["kept", "kept"]
    part = next((tmp_path / "a.h5.parts").glob("val-*.h5"))  # a byte flips in a part that is there
    flip(part, offset_in(part, "buckets/0/photo", 1))
    assert stages(stop=True) == ["kept", "read"]
    photo = root / "images" / "training" / "0.jpg"
    os.utime(photo, ns=(1, 1))
    assert stages(stop=True) == ["read", "kept"]
    assert stages(size=(32, 32)) == ["read", "read", "assembled", "assembled"]


def test_a_flipped_byte_is_found_and_its_sample_named(album: Path) -> None:
    assert problems(album) == []
    with h5py.File(album, "r") as file:
        bucket, row = file["train/place"][3]
        places = [
            file[f"train/buckets/{bucket}/{name}"].id.get_chunk_info(int(row)) for name in ("photo", "raster")
        ]
        offsets = [place.byte_offset + place.size // 2 for place in places]
        offsets.append(file["train/checksum"].id.get_offset() + 3 * 8)
    whole = album.read_bytes()
    for offset in offsets:
        album.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
        assert problems(album) == ["train: train/ä3"]
        result = run("check", album)
        assert "broken: train: train/ä3: its bytes are not those that were packed" in result.stdout
        assert f"{album}: 1 problem\n" in result.stdout


def test_a_flipped_byte_anywhere_is_found_unless_nothing_is_there(album: Path) -> None:
    """What is not found changes nothing: every sample reads as it did."""
    whole = album.read_bytes()
    plugin = Album()
    before = items(TrainingData(plugin, plugin.index(None, "train"), CONFIG, 0))
    missed = []
    for offset in np.random.default_rng(0).integers(0, len(whole), 60).tolist():
        album.unlink()  # HDF5 knows a file that is open by its inode, and would not look again
        album.write_bytes(whole)
        flip(album, offset)
        result = run("check", album)
        assert result.exception is None or isinstance(result.exception, SystemExit), offset
        if result.exit_code == 0:
            missed.append(offset)
            dataset = PackedDataset(plugin, album)
            assert alike(items(TrainingData(dataset, dataset.index(None, "train"), CONFIG, 0)), before), (
                offset
            )
    assert len(missed) < 10


def damaged(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        path.write_text("id,exemplar\n")
    elif kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "foreign":
        path.unlink()
        h5py.File(path, "w").close()
    else:
        with h5py.File(path, "r+") as file:
            tamper(kind, file)


def tamper(kind: str, file: h5py.File) -> None:
    """What HDF5 can be made to do to the reader of a file from anywhere."""
    bucket = file["train/buckets/0"]
    shape = bucket["photo"].shape
    if kind == "soft link":
        del file["val"]
        file["val"] = h5py.SoftLink("/train")
    elif kind == "external link":
        del bucket["photo"]
        bucket["photo"] = h5py.ExternalLink("/etc/passwd", "/x")
    elif kind == "linked labels":
        del bucket["raster"]
        bucket["raster"] = h5py.ExternalLink("/etc/passwd", "/x")
    elif kind == "linked bucket":
        file["train/buckets/99"] = h5py.SoftLink("/val/buckets/0")
    elif kind == "external storage":
        del bucket["photo"]
        bucket.create_dataset("photo", shape, np.uint8, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape, np.uint8)
        layout[:] = h5py.VirtualSource("elsewhere.h5", "photo", shape)
        del bucket["photo"]
        bucket.create_virtual_dataset("photo", layout)
    elif kind == "filter":
        del bucket["photo"]
        bucket.create_dataset("photo", shape, np.uint8, chunks=(1, *shape[1:]), scaleoffset=0)
    elif kind == "objects":
        del file["train/id"]
        file["train"].create_dataset("id", data=["x"] * 7, dtype=h5py.string_dtype())
    elif kind == "stranger":
        file["train/buckets/0"].create_group("deeper")
    elif kind == "shorter":
        del file["train/group"]
        file["train"].create_dataset("group", data=np.array([b"", b"g"]))
    else:
        del bucket["photo"]
        bucket["photo"] = np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("cut", "cut off; pack it anew"),
        ("text", "not a pack (not an HDF5 file)"),
        ("missing", "no such pack"),
        ("folder", "expected a pack (.h5), found a folder"),
        ("foreign", "not a pack of mcltool"),
        ("soft link", "/val is a link to elsewhere, refused"),
        ("external link", "/train/buckets/0/photo is a link to elsewhere, refused"),
        ("linked labels", "/train/buckets/0/raster is a link to elsewhere, refused"),
        ("linked bucket", "/train/buckets/99 is a link to elsewhere, refused"),
        ("external storage", "/train/buckets/0/photo is stored in another file, refused"),
        ("virtual", "/train/buckets/0/photo is stored in another file, refused"),
        ("filter", "/train/buckets/0/photo needs a filter of its own to be read, refused"),
        ("objects", "/train/id is no array of plain numbers, refused"),
        ("stranger", "/train/buckets/0 is not laid out as in a pack"),
        ("shorter", "/train/group is not of 7 samples"),
        ("floats", "float32; pack it anew"),
    ],
)
@pytest.mark.parametrize("command", ["check", "info"])
def test_what_is_no_sound_pack_is_refused_in_one_line(
    kind: str, cause: str, command: str, album: Path
) -> None:
    damaged(kind, album)
    result = run(command, album)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"mcltool: {album}: ")
    assert cause in result.stderr


def test_a_pack_of_another_plugin_or_version_is_refused(album: Path) -> None:
    PackedDataset(Altered(), album)
    with pytest.raises(
        UsageError, match="packed with plugin album version 3, this one is album version 4; pack it"
    ):
        PackedDataset(Altered("4"), album)
    with pytest.raises(UsageError, match="its labels are not those of album"):
        PackedDataset(Altered(palette=((1, 1, 1), *PALETTE[1:])), album)
    result = CliRunner().invoke(cli, ["fit", "--data", str(album), "--plugin", "shapes"])
    assert (result.exit_code, "a pack of plugin album, not of shapes" in result.stderr) == (2, True)
    result = CliRunner().invoke(cli, ["fit", "--data", str(album)])
    cause = f"{album}: packed with plugin album, which is not installed here"
    assert (result.exit_code, cause in result.stderr) == (2, True)


def test_a_split_that_is_not_packed_is_named(tmp_path: Path) -> None:
    out = tmp_path / "album.h5"
    list(pack(Album(), {"train": Album().index(None, "train")}, out, PackOptions(LOADED)))
    with pytest.raises(UsageError, match=r"no split 'val' in this pack, which holds train; pack it anew"):
        PackedDataset(Album(), out).index(None, "val")


def test_a_sample_damaged_while_training_is_one_error(album: Path) -> None:
    """A compressed sample that no longer unpacks."""
    packed(album, compression="gzip")
    with h5py.File(album, "r") as file:
        bucket, row = file["train/place"][2]
        place = file[f"train/buckets/{bucket}/photo"].id.get_chunk_info(int(row))
    damaged = bytearray(album.read_bytes())
    damaged[place.byte_offset : place.byte_offset + 20] = b"x" * 20
    album.write_bytes(damaged)
    dataset = PackedDataset(Album(), album)
    with pytest.raises(DataError, match=r"album.h5: train/ä2 cannot be read .* 'mcltool pack check"):
        dataset.photo(dataset.index(None, "train")[2], 0)
    assert problems(album) == ["train: train/ä2"]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: at first no part fits, then all do, but not the pack."""
    out = tmp_path / "album.h5"
    out.write_bytes(b"what was there")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (60_000, 180_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(
                McltoolError, match=r"cannot be written \(.*kept in .*album.h5.parts: give it room"
            ):
                packed(out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert out.read_bytes() == b"what was there"
        assert not list(tmp_path.rglob("*.tmp"))
    steps = packed(out)
    assert [step.stage for step in steps] == ["kept", "kept", "assembled", "assembled"]
    assert problems(out) == []


def test_too_little_room_for_the_pack_is_said_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        McltoolError, match=r"0\.0 GB are needed beside the parts.*run the same command again"
    ):
        packed(tmp_path / "album.h5")


def test_a_folder_that_cannot_be_written_to_is_one_line() -> None:
    """Root may write anywhere: the test goes on as nobody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            if not os.access(sys.prefix, os.R_OK, effective_ids=True):
                pytest.skip(
                    "nobody may not read the environment that the tests run in (tox closes its folder)"
                )
            result = run(
                "--plugin", "shapes", "--split", "val", "--size", "32", "--workers", "0", folder / "a.h5"
            )
        finally:
            os.seteuid(user)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert f"{folder}/a.h5.parts cannot be written (Permission denied)" in result.stderr
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (("a.txt",), "expected the name of a .h5 file"),
        (("a.h5", "--size", "0"), "expected S or HxW in pixels"),
        (("a.h5", "--compression", "zip"), "'none', 'lzf', 'gzip'"),
        (("a.h5", "--split", "test"), "'train', 'val'"),
    ],
)
def test_wrong_options(
    args: tuple[str, ...], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--plugin", "shapes", *args)
    assert (result.exit_code, cause in result.stderr, list(tmp_path.iterdir())) == (2, True, [])


def test_the_default_size_is_what_training_takes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    run("--plugin", "ade20k", "--root", root, "--workers", "0", out)
    about = json.loads(run("info", out, "--json").stdout)
    assert (about["plugin"], about["size"], about["compression"]) == ("ade20k", [286, 286], "none")
    assert about["splits"]["train"] == {"samples": 2, "groups": 0, "shapes": 1, "retrieved": 0}
    shown = run("info", out).stdout
    assert "286 x 286 pixels" in shown
    assert "2 samples in 1 shapes" in shown


def test_help_shows_how_to_pack_and_the_other_commands() -> None:
    for words in (("--help",), ()):
        result = CliRunner().invoke(cli, ["pack", *words])
        assert "Usage: mcltool pack [OPTIONS] OUT.h5" in result.stdout
        assert "mcltool pack check" in result.stdout
