"""What can be read and is wrong all the same: it is found by data check, and said by pack and fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mcltool_ade20k import Ade20kPlugin
from mcltool_shapes import ShapesPlugin
from PIL import Image
from scenes import make_scenes
from tiny_weights import make_weights

from mcltool import Condition, ConditionSpec, DatasetPlugin, Sample, UsageError
from mcltool.cli.main import cli
from mcltool.core.config import DataConfig, resolve
from mcltool.data.check import SplitReport, check_split
from mcltool.data.dataset import TrainingData
from mcltool.data.pack import read_header
from mcltool.data.packing import PackOptions, pack
from mcltool.plugin.registry import load_packed, use_reading

ADE = ("--plugin", "ade20k", "--root")
GREY = (120, 120, 120)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, args)))


@pytest.fixture
def zero_based(tmp_path: Path) -> Path:
    """0 is wall, 150 unknown, as in every picture of such a set."""
    return make_scenes(
        tmp_path / "ade", [(GREY, np.tile(np.array([[0, 2, 150, 150]], np.uint8), (64, 16)))] * 3
    )


def test_labels_from_zero_on_are_found_by_data_check(zero_based: Path) -> None:
    result = run("data", "check", *ADE, zero_based)
    assert result.exit_code == 1
    assert "doubtful: 3 of 3 samples: label 150, flag, is rare" in result.stdout
    assert result.stdout.endswith("ade20k: 2 doubts\n")
    assert json.loads(run("data", "check", *ADE, zero_based, "--json").stdout)["splits"][0]["doubts"]


def test_the_numbering_that_is_named_decides(zero_based: Path) -> None:
    result = run("data", "check", *ADE, zero_based, "--labels", "zero-based", "--json")
    shares = json.loads(result.stdout)["splits"][0]["shares"]
    assert (result.exit_code, shares[0], shares[1], shares[3]) == (0, 0.5, 0.25, 0.25)
    assert run("data", "check", *ADE, zero_based, "--labels", "standard").exit_code == 0
    unknown = run("data", "check", *ADE, zero_based, "--labels", "zero")
    assert (unknown.exit_code, "are numbered standard or zero-based" in unknown.stderr) == (2, True)


def test_a_flag_here_and_there_is_no_doubt(tmp_path: Path) -> None:
    plain, flag = np.ones((8, 8), np.uint8), np.full((8, 8), 150, np.uint8)
    root = make_scenes(tmp_path / "ade", [(GREY, plain)] * 10 + [(GREY, flag)])
    assert run("data", "check", *ADE, root).stdout.endswith("ade20k: all is well\n")


def test_pack_says_the_doubt_and_packs_what_is_read(zero_based: Path, tmp_path: Path) -> None:
    result = run("pack", *ADE, zero_based, "--size", "32", "--workers", "0", tmp_path / "a.h5")
    assert (result.exit_code, result.stderr.count("doubtful: 3 of 3 samples: label 150")) == (0, 2)
    sound = run(
        "pack",
        *ADE,
        zero_based,
        "--size",
        "32",
        "--workers",
        "0",
        "--labels",
        "zero-based",
        tmp_path / "b.h5",
    )
    assert (sound.exit_code, "doubtful" in sound.stderr) == (0, False)


def test_pair_and_preview_say_the_doubt(zero_based: Path, tmp_path: Path) -> None:
    for command in (
        ("pair", tmp_path / "pairs.csv", "--split", "train", "--features", "plain", "--workers", "0"),
        ("data", "preview", tmp_path / "sheet.png", "--size", "32"),
    ):
        result = run(*command, *ADE, zero_based)
        assert (result.exit_code, "doubtful: 3 of 3 samples: label 150" in result.stderr) == (0, True)
        assert "doubtful" not in run(*command, *ADE, zero_based, "--labels", "zero-based").stderr


def test_a_pack_carries_how_its_files_were_read(zero_based: Path, tmp_path: Path) -> None:
    """To the run, its weights, and what is read with them: the pack itself has the data set's own numbers."""
    path = tmp_path / "a.h5"
    given = ("--size", "36", "--workers", "0", "--labels", "zero-based", "--no-exif")
    assert run("pack", *ADE, zero_based, *given, path).exit_code == 0
    config = resolve("ade20k", "tiny", load_packed(path).defaults).data
    assert (config.labels, config.exif, config.canvas) == ("zero-based", False, None)
    use_reading(load_packed(path), config.labels, config.exif)
    fit = ("fit", "--data", path, "--dry-run", "--preset", "tiny")
    assert json.loads(run(*fit, "--json").stdout)["config"]["data"]["labels"] == "zero-based"
    refused = run(*fit, "--labels", "standard")
    assert (
        refused.exit_code,
        "a pack were already read; give these options to mcltool pack" in refused.stderr,
    ) == (
        2,
        True,
    )


def test_a_pack_of_files_read_as_usual_says_nothing_of_it(tmp_path: Path) -> None:
    """So that the last release reads it."""
    root = make_scenes(tmp_path / "ade", [(GREY, np.ones((36, 36), np.uint8))] * 2)
    assert run("pack", *ADE, root, "--size", "36", "--workers", "0", tmp_path / "a.h5").exit_code == 0
    header = json.loads(read_header(tmp_path / "a.h5").to_json())
    assert not {"labels", "exif", "canvas"} & header.keys()


def test_evaluate_says_the_doubt_and_takes_the_numbering(zero_based: Path, tmp_path: Path) -> None:
    weights = make_weights(tmp_path / "w.safetensors", "ade20k", Ade20kPlugin().spec)
    given = (
        "evaluate",
        "--weights",
        weights,
        "--root",
        zero_based,
        "--metrics",
        "psnr",
        "--device",
        "cpu",
        "--to",
    )
    result = run(*given, tmp_path / "a")
    assert (result.exit_code, "doubtful: 3 of 3 samples: label 150" in result.output) == (0, True)
    result = run(*given, tmp_path / "b", "--labels", "zero-based")
    assert (result.exit_code, "doubtful" in result.output) == (0, False)
    written = [np.unique(Image.open(tmp_path / name / "conditions" / "0.png")) for name in "ab"]
    assert [found.tolist() for found in written] == [[0, 2, 150], [0, 1, 3]]
    again = run(*given, tmp_path / "b")
    assert (again.exit_code, "holds another data set, size, count" in again.output) == (2, True)


@pytest.mark.slow
def test_fit_says_the_doubt_and_keeps_the_numbering_in_the_run(zero_based: Path, tmp_path: Path) -> None:
    given = ("--preset", "tiny", "--size", "32", "--max-steps", "1", "--batch-size", "2", "--workers", "0")
    result = run("fit", *ADE, zero_based, *given, "--precision", "fp32", "--run", tmp_path / "a")
    assert (result.exit_code, "doubtful: 3 of 3 samples: label 150" in result.stderr) == (0, True)
    named = ("--labels", "zero-based", "--run", tmp_path / "b")
    result = run("fit", *ADE, zero_based, *given, "--precision", "fp32", *named)
    assert (result.exit_code, "doubtful" in result.stderr) == (0, False)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["data"]["labels"] == "zero-based"


# --- photos that are turned by their EXIF orientation, masks drawn on the stored pixels ---


def turn(root: Path, orientation: int) -> None:
    for photo in (root / "images").rglob("*.jpg"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(photo).save(photo, exif=exif)


@pytest.mark.parametrize(("orientation", "size"), [(3, (32, 48)), (6, (32, 32)), (2, (32, 48))])
def test_a_turn_that_fits_is_doubted_until_it_is_settled(
    orientation: int, size: tuple[int, int], tmp_path: Path
) -> None:
    root = make_scenes(tmp_path / "ade", [(GREY, np.ones(size, np.uint8))] * 2)
    turn(root, orientation)
    found = run("data", "check", *ADE, root)
    assert (found.exit_code, "2 of 2 samples: its EXIF orientation turns" in found.stdout) == (1, True)
    for settled in ("--exif", "--no-exif"):
        assert run("data", "check", *ADE, root, settled).stdout.endswith("ade20k: all is well\n")


def test_a_quarter_turn_that_does_not_fit_names_exif(tmp_path: Path) -> None:
    root = make_scenes(tmp_path / "ade", [(GREY, np.ones((32, 48), np.uint8))] * 2)
    turn(root, 6)
    found = run("data", "check", *ADE, root)
    assert "the photo's EXIF orientation turns it, --no-exif takes it as it is stored" in found.stdout
    assert run("data", "check", *ADE, root, "--no-exif").exit_code == 0
    plugin = Ade20kPlugin()
    use_reading(plugin, exif=False)
    assert plugin.photo(plugin.index(root, "train")[0], 0).shape == (32, 48, 3)


# --- conditions to translate ---


def test_translate_dir_says_the_doubt(tmp_path: Path) -> None:
    for folder, name, picture in (
        ("masks", "a.png", Image.fromarray(np.full((32, 32), 150, np.uint8))),
        ("photos", "a.jpg", Image.new("RGB", (32, 32))),
    ):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / name)
    weights = make_weights(tmp_path / "w.safetensors", "ade20k", Ade20kPlugin().spec)
    given = ("translate-dir", tmp_path / "masks", tmp_path / "photos", tmp_path / "out", "--weights", weights)
    found = run(*given, "--device", "cpu", "--precision", "fp32", "--dry-run")
    assert (found.exit_code, "doubtful: 1 of 1 samples: label 150, flag" in found.stderr) == (0, True), (
        found.output
    )
    assert (
        "doubtful"
        not in run(*given, "--device", "cpu", "--precision", "fp32", "--labels", "zero-based").stderr
    )
    for command in ("translate", "explain"):
        pair = (command, tmp_path / "masks" / "a.png", tmp_path / "photos" / "a.jpg", tmp_path / "seen.png")
        found = run(*pair, "--weights", weights, "--device", "cpu")
        assert (found.exit_code, "doubtful: label 150, flag" in found.stderr) == (0, True), found.output
        assert "doubtful" not in run(*pair, "--weights", weights, "--labels", "zero-based").stderr


# --- ids ---


class Twice(DatasetPlugin):
    name, needs_root = "twice", False

    @property
    def spec(self) -> ConditionSpec:
        return ConditionSpec("labels", ("a",), ((0, 0, 0),))

    def index(self, root, split):
        return [Sample("a", group="one"), Sample("b"), Sample("a", group="other")]

    def read_condition(self, files):
        raise NotImplementedError

    def photo(self, sample, short_side):
        return np.zeros((32, 32, 3), np.uint8)

    def condition(self, sample, short_side):
        return Condition((32, 32), np.zeros((32, 32), np.uint8))


def test_repeated_ids_are_refused_everywhere(tmp_path: Path) -> None:
    plugin, report = Twice(), SplitReport("train")
    samples = plugin.index(None, "train")
    cause = "twice: two samples have the id 'a'"
    list(check_split(plugin, samples, report))
    assert [problem.startswith(cause) for _, problem in report.problems] == [True]
    with pytest.raises(UsageError, match=cause):
        TrainingData(plugin, samples, DataConfig(size=(32, 32)), 0)
    with pytest.raises(UsageError, match=cause):
        list(pack(plugin, {"train": samples}, tmp_path / "a.h5", PackOptions((32, 32))))


def test_a_plugin_may_have_names_of_its_own_that_options_have() -> None:
    class Own(ShapesPlugin):
        def labels(self) -> str:
            return "mine"

        def exif(self) -> str:
            return "mine"

    plugin = Own()
    use_reading(plugin, exif=False)
    assert (plugin.labels(), plugin.exif(), plugin.follow_exif) == ("mine", "mine", False)
