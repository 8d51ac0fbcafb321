"""Exemplars for photos that have no other view: found, written, read, and drawn in training."""

from __future__ import annotations

import json
import resource
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from mcltool_shapes import ShapesPlugin
from scenes import make_scenes

from mcltool.cli.main import cli
from mcltool.core.config import DataConfig
from mcltool.core.errors import McltoolError, UsageError
from mcltool.data.assembly import store_retrieved
from mcltool.data.dataset import EvaluationData, TrainingData, open_data
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack
from mcltool.data.pairs import Names, match_names, read_pairs, read_rows, write_pairs
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import Sample

CPU = torch.device("cpu")
CONFIG = DataConfig(size=(32, 32), load_scale=1.0)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, args)))


SAMPLES = [
    Sample("img/WOMEN/id_1/01_1_front", Path("/d/img/WOMEN/id_1/01_1_front.jpg")),
    Sample("img/WOMEN/id_1/02_2_side", Path("/d/img/WOMEN/id_1/02_2_side.jpg")),
    Sample("img/MEN/id_2/01_1_front", Path("/d/img/MEN/id_2/01_1_front.jpg")),
    Sample("7", Path("/d/photos/00007.jpg")),
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("7,img/MEN/id_2/01_1_front", [2]),
        ("7,img/MEN/id_2/01_1_front.jpg,img/WOMEN/id_1/02_2_side.jpg", [2, 1]),  # as CoCosNet writes them
        ("00007.jpg,./data/img/MEN/id_2/01_1_front.jpg", [2]),
        ("photos\\00007.jpg, 02_2_side.jpg ,,", [1]),
        ('"7","img/MEN/id_2/01_1_front"', [2]),
        ("7,01_1_front.jpg", []),  # two are called so
        ("7,7,nobody,02_2_side", [1]),
        ("8,02_2_side", []),
    ],
)
def test_lists_name_samples_by_id_path_or_file_name(line: str, expected: list[int], tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"\n{line}\r\n", "utf-8-sig")
    called = Names.of(SAMPLES)
    *others, found = match_names(read_pairs(path), called, called)[0]
    assert (others, [number for number in found if number is not None]) == ([[], [], []], expected)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a,b\r\na,c d\r\n", id="repeated key"),
        pytest.param(b"a,b\na,c d", id="no final newline"),
        pytest.param(b"a,b,c d,,\n\n", id="trailing commas, empty line"),
        pytest.param(b"a\tb\na\tc d\n", id="tabs"),
        pytest.param(b"sep=;\r\na;b\r\na;c d\r\n", id="Excel's hint"),
        pytest.param(b'"a";"b"\n"a";"c d"\n', id="semicolons, quotes"),
        pytest.param(b"a,b\ra,c d\r", id="old Mac"),
        pytest.param("condition,exemplar\na,b\na,c d\n".encode("utf-8-sig"), id="byte order mark, header"),
        pytest.param("Key;Exemplar\r\na;b\r\na;c d\r\n".encode("utf-16"), id="UTF-16"),
        pytest.param(b"from,to\nb,a\nc d,a\n", id="PATN: the pose comes second"),
        pytest.param(b"condition,exemplar\na,b\ncondition,exemplar\na,c d\n", id="two lists in one"),
    ],
)
def test_a_list_is_read_however_it_was_written(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    assert read_pairs(path) == {"a": ["b", "c d"]}


def test_further_columns_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('Condition, Exemplar, Weight, Classes\na.png, b.jpg, 0.5, "sky;tree"\n')
    (row,) = read_rows(path)
    assert (row.line, row.key, row.exemplars) == (2, "a.png", (" b.jpg",))
    assert row.more == {"weight": " 0.5", "classes": ' "sky;tree"'}


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"a,b\nc\n", "line 2: expected key,exemplar,..., found 'c' alone"),
        (b"a,b\nc,\n", "line 2: expected key,exemplar,..., found 'c' alone"),
        (b"condition,exemplar\na\n", "line 2: expected condition,exemplar, found 'a'"),
        (b"condition,exemplar\n", "no lines; expected lines of text like key,exemplar"),
        (b"condition,exemplar,weight\na,b,1\n", "a list for training has no column weight"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "expected lines of text like key,exemplar"),
        (b"\n\n", "no lines"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_list_is_said(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_pairs(path)
    assert str(raised.value).startswith(str(path))
    assert cause in str(raised.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x/a.jpg", [0]),
        ("x\\a", [0]),
        ("./photos/x/a.jpg", [0]),  # a folder above says nothing
        ("/data/set/y/a.png", [1]),
        (" y/a.jpg ", [1]),
        ("a.jpg", [0, 1]),
        ("z/a.jpg", []),  # there is none in z
        ("b.webp", [2, 3]),
        ("b.jpg", [2]),
        ("c.jpg", [4]),
        ("e.jpg", [4]),
        ("d/c.jpg", [4]),
        ("d.e", []),
    ],
)
def test_what_a_name_in_a_list_means(name: str, expected: list[int]) -> None:
    names = ["x/a.jpg", "y/a.jpg", "b.jpg", "b.png", "d/c.jpg"]
    others = [name.rpartition(".")[0] for name in names[:4]] + ["e"]
    assert list(Names(names, others).find(name)) == expected


def test_lists_are_read_as_they_were_written(tmp_path: Path) -> None:
    pairs = {"a,b": ["c", "d e"], "ä": ["a,b"], "alone": []}
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert read_pairs(tmp_path / "pairs.csv") == {"a,b": ["c", "d e"], "ä": ["a,b"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Reds and blues in pairs, numbers 0 2 4 and 1 3 5."""
    scenes = [
        ((200 - n, 10, 10) if n % 2 == 0 else (10, 10, 200 - n), np.full((32, 32), 1 + n % 2, np.uint8))
        for n in range(6)
    ]
    return make_scenes(tmp_path / "ade20k", scenes, "{split[0]}{number}")


def packed(root: Path, out: Path) -> PackedDataset:
    plugin = plugins.load("ade20k")
    splits = {split: plugin.index(root, split) for split in ("train", "val")}
    list(pack(plugin, splits, out, PackOptions((32, 32))))
    return PackedDataset(plugin, out)


def test_pair_writes_the_nearest_of_each_split(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pairs.csv"
    given = ("--root", root, "--top", "2", "--features", "plain", "--workers", "0")
    result = run("pair", "--plugin", "ade20k", *given, out)
    assert result.stdout == f"{out}: 2 exemplars for each of 12 photos, by plain features\n"
    lists = read_pairs(out)
    assert len(lists) == 12
    for key, exemplars in lists.items():
        assert {name[0] for name in exemplars} == {key[0]}
        assert {int(name[1]) % 2 for name in exemplars} == {int(key[1]) % 2}
        assert len({key, *exemplars}) == 3


@pytest.mark.slow
def test_training_draws_the_same_from_the_pack_as_from_the_list(root: Path, tmp_path: Path) -> None:
    out, pairs = tmp_path / "a.h5", tmp_path / "pairs.csv"
    dataset = packed(root, out)
    given = ("--top", "2", "--features", "plain", "--workers", "0")
    assert run("pair", "--data", out, *given).exit_code == 0
    assert run("pair", "--data", out, *given, pairs).exit_code == 0
    assert run("pack", "check", out).exit_code == 0
    assert json.loads(run("pack", "info", out, "--json").stdout)["splits"]["val"]["retrieved"] == 2

    stored, held_out = open_data(dataset, None, CONFIG, 0)
    listed, held_out_listed = open_data(plugins.load("ade20k"), root, CONFIG, 0, pairs)
    drawn: Counter[str] = Counter()
    for n in range(300):
        item, other = stored[n], listed[n]
        assert all(torch.equal(item[name], other[name]) for name in item)
        drawn["self" if item["paired"] else "retrieved"] += 1
        assert item["condition"][0, 0] == item["exemplar_condition"][0, 0]  # reds with reds
    assert 0.2 < drawn["self"] / 300 < 0.4  # docs/method.md, section 6: 70% retrieved, else itself
    for index in range(6):
        name = held_out.exemplar_of(index).id
        assert name == held_out_listed.exemplar_of(index).id
        assert name != held_out.samples[index].id
        assert torch.equal(held_out[index]["condition"], held_out[index]["exemplar_condition"])


@pytest.mark.slow
def test_fit_takes_a_list(root: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    given = (
        "fit",
        "--plugin",
        "ade20k",
        "--root",
        root,
        "--preset",
        "tiny",
        "--size",
        "32",
        "--max-steps",
        "2",
    )
    settings = ("--batch-size", "2", "--workers", "0", "--precision", "fp32", "--set", "data.exemplar_self=0")
    losses = []
    for number, lines in enumerate(("t0,t2\n", "".join(f"t{n},t{(n + 2) % 6}\n" for n in range(6)), "x,y\n")):
        pairs.write_text(lines)
        run_dir = tmp_path / f"run{number}"
        result = run(*given, *settings, "--run", run_dir, "--pairs", pairs)
        if number == 2:
            assert (result.exit_code, "names none of the 12 samples" in result.stderr) == (2, True)
            assert not run_dir.exists()
        else:
            assert result.exit_code == 0, result.stderr
            losses.append(json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[0])["loss_total"])
    assert losses[0] != losses[1]


def test_a_list_may_name_training_photos_for_held_out_ones(root: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "cocosnet.txt"
    pairs.write_text("t0.jpg,t3.jpg\nv1.jpg,t5.jpg\nv2.jpg,nobody.jpg\n")
    training, held_out = open_data(plugins.load("ade20k"), root, CONFIG, 0, pairs)
    assert [held_out.exemplar_of(n).id for n in range(4)] == ["v1", "t5", "v3", "v4"]
    photo = plugins.load("ade20k").photo(training.samples[5], 32)
    assert np.array_equal(held_out[1]["exemplar"].permute(1, 2, 0), photo)
    assert not held_out[1]["paired"]


def test_names_that_several_photos_have_are_counted_and_left_out(root: Path, tmp_path: Path, caplog) -> None:
    for kind, suffix in (("images", "jpg"), ("annotations", "png")):
        for place in ("a", "b"):
            copy = root / kind / "training" / place / f"same.{suffix}"
            copy.parent.mkdir()
            shutil.copy(next((root / kind / "training").glob(f"*.{suffix}")), copy)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("t0.jpg,same.jpg,a/same.jpg\nsame.jpg,t0.jpg\n")
    training, _ = open_data(plugins.load("ade20k"), root, CONFIG, 0, pairs)
    assert "1 names may be of several photos, such as same.jpg, and are left out" in caplog.text
    assert training.samples


def test_an_exemplar_of_ones_own_group_is_a_right_one() -> None:
    plugin = ShapesPlugin()
    samples = plugin.index(None, "val")[:8]
    data = EvaluationData(plugin, samples, CONFIG, [samples[2], samples[7], None, *[None] * 5])
    assert [bool(data[n]["paired"]) for n in range(3)] == [True, False, True]


def test_a_list_of_other_names_is_refused(root: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("x,y\n")
    with pytest.raises(UsageError, match=r"names none of the 12 samples; .* like t0,t5"):
        open_data(plugins.load("ade20k"), root, CONFIG, 0, pairs)


def test_exemplars_can_be_put_into_a_pack_again_and_nothing_is_lost_on_the_way(
    root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.h5"
    dataset = packed(root, out)
    first = np.array([[1, -1]] * 6, np.int32)
    store_retrieved(out, {"train": first})
    whole = out.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))  # stands for a full disk
    try:
        with pytest.raises(
            McltoolError, match=r"a\.h5: cannot be replaced \(.*\); the old file is unchanged"
        ):
            store_retrieved(out, {"train": first + 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_bytes() == whole
    assert dataset.retrieved("train") == [[1]] * 6
    store_retrieved(out, {"train": first + 1})
    assert dataset.retrieved("train") == [[2, 0]] * 6
    assert dataset.retrieved("val") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "ade20k"]


def test_a_flipped_byte_in_the_exemplars_is_found(root: Path, tmp_path: Path) -> None:
    import h5py

    out = tmp_path / "a.h5"
    packed(root, out)
    store_retrieved(out, {"train": np.array([[1, 2]] * 6)})
    with h5py.File(out, "r") as file:
        offset = file["train/retrieved"].id.get_offset()
    damaged = bytearray(out.read_bytes())
    damaged[offset] ^= 2
    out.write_bytes(damaged)
    result = run("pack", "check", out)
    assert result.exit_code == 1
    assert "broken: train: retrieved: the exemplars' numbers are not those that were stored" in result.stdout


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (("x.csv",), "Missing option '--plugin', or '--root', a folder (or '--data', a pack)"),
        (("--plugin", "shapes"), "Missing argument 'OUT.csv' (or '--data'"),
        (("--plugin", "shapes", "x.h5"), "expected the name of a text file"),
        (("--plugin", "shapes", "--top", "0", "x.csv"), "0 is not in the range"),
        (("--data", "x.h5", "--root", ".", "x.csv"), "samples come from a folder or from a pack"),
        (("--data", "x.h5"), "x.h5: no such pack"),
    ],
)
def test_wrong_options(
    args: tuple[str, ...], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("pair", *args)
    assert (result.exit_code, cause in result.stderr, result.stderr.count("\n")) == (2, True, 1)
    assert list(tmp_path.iterdir()) == []


def test_groups_go_before_retrieved_exemplars() -> None:
    plugin = ShapesPlugin()
    samples = plugin.index(None, "val")[:8]
    lists = [[(n + 4) % 8] for n in range(8)]  # of the other group
    data = TrainingData(plugin, samples, CONFIG, 0, lists)
    assert all(bool(data[n]["paired"]) for n in range(40))
