"""A weights file is all that inference needs, and says clearly when it is not what it should be."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_weights
import torch
from safetensors.torch import load_file, save_file

from mcltool import ConditionSpec, UsageError
from mcltool.core.config import resolve
from mcltool.core.files import digest
from mcltool.core.lookup import (
    default_weights,
    find_weights,
    newer_checkpoint,
    newest_weights,
    shipped_weights,
)
from mcltool.core.weights import FORMAT, WeightsHeader, load_model, read_header, save_weights, summary
from mcltool.model.build import make_network
from mcltool.model.network import MCLNet

SPEC = ConditionSpec("labels", ("unknown", "sky", "wiese"), ((0, 0, 0), (0, 0, 255), (0, 255, 0)), unknown=0)
SETTINGS = tiny_weights.SMALL | {"data.size": (32, 64)}


def header(plugin: str = "meadow") -> WeightsHeader:
    return WeightsHeader(resolve(plugin, "tiny", SETTINGS), SPEC, "7", step=60)


def network() -> MCLNet:
    torch.manual_seed(0)
    return make_network(header().config.model, SPEC.channels, header().size).eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(path, network().state_dict(), header())
    return path


def test_a_model_that_was_saved_and_loaded_gives_bit_identical_output(file: Path) -> None:
    condition = torch.zeros(1, 3, 32, 64)
    condition[:, 1] = 1
    exemplar = torch.rand(1, 3, 64, 32) * 2 - 1
    model, found = load_model(file)
    with torch.inference_mode():
        ours, theirs = model(condition, exemplar), network()(condition, exemplar)
    assert torch.equal(ours.image, theirs.image)
    assert torch.equal(ours.warped, theirs.warped)
    assert found == header()
    assert not model.training


def test_the_header_comes_back_as_it_was_written(file: Path) -> None:
    found = read_header(file)
    assert found == header()
    assert (found.plugin, found.plugin_version, found.size, found.step) == ("meadow", "7", (32, 64), 60)


def test_the_same_run_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_weights(again, network().state_dict(), header())
    assert digest(again) == digest(file)


def test_the_summary_counts_parameters(file: Path) -> None:
    found = summary(file)
    assert found["parameters"] == sum(tensor.numel() for tensor in network().state_dict().values())
    assert (found["bytes"], found["condition"]["names"]) == (file.stat().st_size, ["unknown", "sky", "wiese"])


def test_a_failed_save_leaves_the_old_file_and_no_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(file)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(file, network().state_dict(), header())
    assert digest(file) == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def with_metadata(text: str) -> Callable[[Path], None]:
    return lambda path: save_file(load_file(path), path, {FORMAT: text})


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda path: path.unlink(), "no such weights file"),
        (lambda path: path.write_bytes(b""), "cut off, or not a .safetensors file"),
        (lambda path: path.write_text("weights, honestly"), "cut off, or not a .safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cut off, or not a .safetensors file"),
        (lambda path: torch.save({}, path), "cut off, or not a .safetensors file"),
        (lambda path: (path.unlink(), path.mkdir()), "expected a weights file"),
        (lambda path: save_file(load_file(path), path), "not written by mcltool"),
        (with_metadata("{"), "damaged header"),
        (with_metadata('{"format_version": 1}'), "damaged header"),
        (with_metadata('{"format_version": 99}'), r"format version 99 is unknown \(this mcltool reads 1\)"),
    ],
)
def test_another_file_is_one_line_that_names_it(
    file: Path, damage: Callable[[Path], None], cause: str
) -> None:
    damage(file)
    with pytest.raises(UsageError, match=cause) as error:
        load_model(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda tensors, name: tensors.pop(name), "NAME is missing"),
        (
            lambda tensors, name: tensors.update(a_surplus=torch.zeros(1)),
            "a_surplus is not part of the model",
        ),
        (lambda tensors, name: tensors.update({name: torch.zeros(3, 5)}), "NAME is 3x5 float32 instead of "),
        (
            lambda tensors, name: tensors.update({name: tensors[name].double()}),
            "NAME is .* float64 instead of .* float32",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_header_are_refused(
    file: Path, change: Callable[[dict[str, torch.Tensor], str], None], cause: str
) -> None:
    tensors = load_file(file)
    name = sorted(tensors)[0]
    change(tensors, name)
    save_weights(file, tensors, header())
    with pytest.raises(UsageError, match=cause.replace("NAME", name)):
        load_model(file)


def test_the_newest_of_the_runs_is_found(tmp_path: Path) -> None:
    for run, age in (("first", 30), ("second", 10), ("third", 20)):
        path = tmp_path / "runs" / run / "weights.safetensors"
        save_weights(path, {}, header())
        os.utime(path, (1e9 - age, 1e9 - age))
    assert newest_weights(tmp_path) == tmp_path / "runs" / "second" / "weights.safetensors"


def test_runs_of_several_plugins_ask_for_weights(tmp_path: Path) -> None:
    for plugin in ("meadow", "forest"):
        save_weights(tmp_path / "runs" / plugin / "weights.safetensors", {}, header(plugin))
    with pytest.raises(UsageError, match=r"several plugins \(forest, meadow\); choose with --weights"):
        newest_weights(tmp_path)


def test_runs_of_several_own_data_sets_ask_for_weights(tmp_path: Path) -> None:
    for names in (("sky", "sea"), ("edge", "distance")):
        spec = ConditionSpec("channels", names, ((0, 0, 0), (9, 9, 9)), reading="of the folder")
        one = replace(header("folder"), condition=spec)
        save_weights(tmp_path / "runs" / names[0] / "weights.safetensors", {}, one)
    with pytest.raises(UsageError, match=r"conditions \(edge, distance; sky, sea\); choose with --weights"):
        newest_weights(tmp_path)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file like the shipped one, with its checksum published beside it."""
    path = tmp_path / "shipped" / "shapes.safetensors"
    save_weights(path, {}, header("shapes"))
    published = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"url": path.name, "megabytes": 1, "sha256": published, "license": "CC0-1.0", "card": "shapes.md"}
    (path.parent / "index.json").write_text(json.dumps({"shapes": entry}))
    monkeypatch.setattr("mcltool.core.index.shipped_folder", lambda: path.parent)
    return path


def test_the_shipped_weights_are_taken_by_name_alone(shipped: Path, tmp_path: Path) -> None:
    assert find_weights("shapes") == shipped
    with pytest.raises(
        UsageError, match=r"no runs/\*/weights.safetensors .* --weights \(shapes: .* mcltool fit"
    ):
        default_weights(tmp_path)
    own = tmp_path / "runs" / "meadow-1" / "weights.safetensors"
    save_weights(own, {}, header())
    assert default_weights(tmp_path) == own


def begin_run(folder: Path, name: str, plugin: str, *steps: int) -> Path:
    """A run with checkpoints, not finished."""
    run = folder / "runs" / name
    for step in steps:
        save_weights(run / "checkpoints" / f"step-{step}" / "weights.safetensors", {}, header(plugin))
    (run / "config.json").write_text(header(plugin).config.to_json())
    return run


def test_an_unfinished_run_is_named_with_its_newest_checkpoint(shipped: Path, tmp_path: Path) -> None:
    run = begin_run(tmp_path, "meadow-1", "meadow", 900, 1000)
    with pytest.raises(UsageError, match=r"meadow-1: this run is not finished; .* --weights \S*step-1000,"):
        default_weights(tmp_path)
    checkpoint = run / "checkpoints" / "step-1000" / "weights.safetensors"
    assert find_weights(checkpoint.parent) == checkpoint
    own = tmp_path / "runs" / "meadow-0" / "weights.safetensors"
    save_weights(own, {}, header("meadow"))
    os.utime(own, (1, 1))
    assert (default_weights(tmp_path), newer_checkpoint(tmp_path, own)) == (own, checkpoint)
    os.utime(own)
    assert newer_checkpoint(tmp_path, own) is None


def test_an_unfinished_run_of_another_plugin_is_not_passed_over(tmp_path: Path) -> None:
    begin_run(tmp_path, "meadow-1", "meadow", 10)
    save_weights(tmp_path / "runs" / "shapes-1" / "weights.safetensors", {}, header("shapes"))
    with pytest.raises(
        UsageError, match=r"runs of several plugins \(meadow, shapes\); choose with --weights"
    ):
        default_weights(tmp_path)


def test_shipped_weights_that_are_not_those_published_are_refused(shipped: Path) -> None:
    with shipped.open("ab") as file:
        file.write(b" ")
    with pytest.raises(UsageError, match=r"shapes.safetensors: not the weights that were shipped .*install"):
        shipped_weights()


@pytest.mark.parametrize("lost", ["shapes.safetensors", "index.json"])
def test_where_there_are_no_shipped_weights_the_ways_out_are_named(shipped: Path, lost: str) -> None:
    (shipped.parent / lost).unlink()
    with pytest.raises(UsageError, match=r"came without these weights; .* --weights, .* mcltool fit"):
        shipped_weights()


# --- by name ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_weights_are_found_by_file_run_published_folder_and_name(
    file: Path, shipped: Path, home: Path, tmp_path: Path
) -> None:
    run, folder = tmp_path / "runs" / "a", tmp_path / "published"
    got = home / "weights" / "gardens.safetensors"
    for path in (run / "weights.safetensors", folder / "model.safetensors", got):
        save_weights(path, {}, header())
    assert find_weights(file) == find_weights(str(file)) == file
    assert find_weights(run) == run / "weights.safetensors"
    assert find_weights(folder) == folder / "model.safetensors"
    assert find_weights("shapes") == shipped
    assert find_weights("gardens") == got


def test_a_folder_that_is_no_run_does_not_hide_a_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    assert find_weights("shapes") == shipped


def test_an_unfinished_run_names_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in ("step-000500", "step-1000000"):
        save_weights(tmp_path / "checkpoints" / step / "weights.safetensors", {}, header())
    with pytest.raises(
        UsageError, match=r"not finished; take its newest .*step-1000000, or .* --resume --run"
    ):
        find_weights(tmp_path)
    assert find_weights(tmp_path / "checkpoints" / "step-000500").name == "weights.safetensors"


@pytest.mark.parametrize("name", ["meadows", "."])
def test_a_name_that_is_none_lists_those_there_are(
    name: str, shipped: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(
        UsageError, match=rf"^{name}: no weights file, run folder or name; the names here are shapes"
    ):
        find_weights(name)
