"""Packs: the batches of the files, and nothing believed that is not so."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from albums import CONFIG, GROUPS, LOADED, PALETTE, Album, Altered, alike, flip, items, packed, problems, run
from click.testing import CliRunner

import mcltool.data.pack
from mcltool.cli.main import cli
from mcltool.core.errors import DataError, UsageError
from mcltool.data.dataset import EvaluationData, TrainingData, open_data
from mcltool.data.loader import SampleStream, training_loader
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack


@pytest.fixture
def album(tmp_path: Path) -> Path:
    packed(tmp_path / "album.h5")
    return tmp_path / "album.h5"


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
    assert all(torch.equal(a.target, b.target) for a, b in zip(alone, forked, strict=True))
    copied = pickle.loads(pickle.dumps(data))
    assert alike(items(copied), items(data))


def test_another_process_opens_the_file_anew(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it got over a fork is of HDF5's state in the process that opened it."""
    opened: list[Path] = []
    open_file = mcltool.data.pack.open_file
    dataset = PackedDataset(Album(), album)
    samples = dataset.index(None, "train")
    monkeypatch.setattr("mcltool.data.pack.open_file", lambda path: opened.append(path) or open_file(path))
    for sample in samples:
        dataset.photo(sample, 0)
    assert len(opened) == 1
    monkeypatch.setattr("os.getpid", lambda: -1)
    for sample in samples:
        dataset.condition(sample, 0)
    assert len(opened) == 2


def test_a_larger_pack_serves_a_smaller_size_and_a_smaller_one_is_refused(
    tmp_path: Path, album: Path
) -> None:
    dataset = PackedDataset(Album(), album)
    for size, scale in (((32, 64), 1.25), ((32, 32), 1.0), ((32, 64), 1.0)):
        dataset.check_size(replace(CONFIG, size=size, load_scale=scale))
    small = replace(CONFIG, size=(32, 32), load_scale=1.0)
    item = TrainingData(dataset, dataset.index(None, "train"), small, 0)[0]
    assert item["target"].shape == (3, 32, 32)
    for size in ((64, 64), (32, 96)):
        with pytest.raises(UsageError, match=r"packed at 40x80, training at .* pack again with --size"):
            dataset.check_size(replace(CONFIG, size=size))


@pytest.mark.parametrize("listed", [False, True])
def test_a_pack_too_small_is_refused_with_and_without_a_list_of_exemplars(
    tmp_path: Path, album: Path, listed: bool
) -> None:
    dataset = PackedDataset(Album(), album)
    ids = [sample.id for sample in dataset.index(None, "train")]
    (tmp_path / "pairs.csv").write_text(f"{ids[0]},{ids[1]}\n")
    pairs = tmp_path / "pairs.csv" if listed else None
    with pytest.raises(UsageError, match="packed at 40x80"):
        open_data(dataset, None, replace(CONFIG, size=(64, 64)), 0, pairs)


def test_held_out_pairs_come_from_a_pack_too(album: Path) -> None:
    dataset, plugin = PackedDataset(Album(), album), Album()
    files = EvaluationData(plugin, plugin.index(None, "val"), replace(CONFIG, load_scale=1.0))
    held_out = EvaluationData(dataset, dataset.index(None, "val"), CONFIG)
    assert len(held_out) == len(files) == 3
    assert [bool(held_out[n]["paired"]) for n in range(3)] == [bool(files[n]["paired"]) for n in range(3)]
    # Resized twice (to 40 x 80, then to 32 x 64) noise is not the same, but it is still the same noise.
    one, other = (data[0]["target"].float().flatten() for data in (files, held_out))
    assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.8
    assert torch.corrcoef(torch.stack([one, held_out[1]["target"].float().flatten()]))[0, 1] < 0.2


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


@pytest.mark.slow
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
        ("cut", "cut off; pack it again"),
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
        ("floats", "float32; pack it again"),
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
    with pytest.raises(UsageError, match=r"no split 'val' in this pack, which holds train; pack it again"):
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
