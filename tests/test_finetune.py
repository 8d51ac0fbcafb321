"""fit --from: what a network takes of another model's weights, and what it leaves as it was made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from tiny_weights import SMALL, SPEC, make_weights
from training import small_config, small_job

from mcltool import ConditionSpec
from mcltool.cli.main import cli
from mcltool.core.config import Config, resolve
from mcltool.core.errors import UsageError
from mcltool.core.weights import load_model
from mcltool.model.build import make_network
from mcltool.model.network import MCLNet
from mcltool.train.finetune import start_from
from mcltool.train.loop import fit


def spec(*names: str) -> ConditionSpec:
    return ConditionSpec("labels", names, ((0, 0, 0),) * len(names))


def config(preset: str = "tiny", **changes: Any) -> Config:
    return resolve(
        "shapes", preset, SMALL, {name.replace("__", "."): value for name, value in changes.items()}
    )


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def with_tensors(like: Config, of: ConditionSpec, start: Path) -> tuple[MCLNet, str]:
    tensors, summary = start_from(start, like, of)
    net = make_network(like.model, of.channels, like.data.size)
    net.load_state_dict(tensors)
    return net.eval(), summary


PAPER = {"model__encoder_widths": (8, 8, 8, 8), "model__generator_widths": (8,) * 5, "model__spade_hidden": 4}


@pytest.mark.parametrize(
    ("preset", "old", "changes"),
    [
        ("tiny", spec("sky", "tree", "road"), {}),
        ("tiny", spec("sky", "tree", "road"), {"model__condition_embedding": 4}),
        ("tiny", spec("sky", "tree", "road"), {"model__position": True}),
        # The tail of this one mixes all planes, also that of a new class, into the features.
        ("paper", spec("sky", "tree", "road", "car"), PAPER),
    ],
)
def test_classes_are_found_by_their_names(
    preset: str, old: ConditionSpec, changes: dict[str, Any], tmp_path: Path
) -> None:
    """The same classes in another order, and one more: labels renumbered likewise give the same picture."""
    mine, new = config(preset, **changes), spec("road", "car", "sky", "tree")
    path = make_weights_of(tmp_path / "old.safetensors", mine, old)
    before, _ = load_model(path)
    after, summary = with_tensors(mine, new, path)
    labels = torch.randint(0, 3, (2, 32, 32))
    renumbered = torch.tensor([new.names.index(name) for name in old.names])[labels]
    exemplar = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(after(renumbered, exemplar).image, before(labels, exemplar).image)
    known = "3 of 4 classes by name; new classes: car" if preset == "tiny" else "4 of 4 classes by name"
    assert summary.endswith(f"100% of the weights, {known}")


def make_weights_of(path: Path, of: Config, condition: ConditionSpec) -> Path:
    from mcltool.core.weights import WeightsHeader, save_weights

    torch.manual_seed(7)
    net = make_network(of.model, condition.channels, of.data.size)
    save_weights(path, net.state_dict(), WeightsHeader(of, condition, "1", step=3))
    return path


def test_what_is_new_begins_as_in_a_run_from_scratch(tmp_path: Path) -> None:
    mine, new = config(model__condition_embedding=4), spec("car", "tree")
    path = make_weights_of(tmp_path / "old.safetensors", mine, spec("sky", "tree"))
    torch.manual_seed(mine.train.seed)
    scratch = make_network(mine.model, 2, (32, 32)).state_dict()["embed_condition.weight"]
    start = start_from(path, mine, new)[0]["embed_condition.weight"]
    assert torch.equal(start[0], scratch[0])
    assert torch.equal(start[1], load_file(path)["embed_condition.weight"][1])


def test_the_map_of_another_size_is_resampled(tmp_path: Path) -> None:
    path = make_weights_of(tmp_path / "old.safetensors", config(), SPEC)
    larger = config(data__size=(64, 32))
    tensors, summary = start_from(path, larger, SPEC)
    model, _ = load_model(path)
    assert model.correspondence.scm is not None
    assert torch.equal(tensors["correspondence.scm.weight"], model.correspondence.scm.resampled((16, 8)))
    assert "100% of the weights" in summary


def test_parts_of_another_shape_are_named_as_new(tmp_path: Path) -> None:
    path = make_weights_of(tmp_path / "old.safetensors", config(), SPEC)
    summary = start_from(path, config(model__generator_widths=(8, 8, 8, 16)), SPEC)[1]
    assert "new parts: generator (" in summary
    widths = {f"model__{n}": (12, 12, 12) for n in ("encoder_widths", "generator_widths")}
    numbers = {f"model__{n}": 6 for n in ("feature_channels", "scm_channels", "spade_hidden")}
    with pytest.raises(UsageError, match=r"[0-9]% of it fits: it has preset tiny, .*leave out --preset"):
        start_from(path, config(**widths, **numbers), SPEC)


COMMAND = (
    "fit --plugin shapes --max-steps 1 --batch-size 1 --workers 0 --device cpu --precision fp32 --run r "
    "--set train.validation_samples=0 --set train.generator_start=0"
)
FIT = COMMAND.split(" ")


def test_fit_begins_with_a_run_and_takes_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a learning rate of 0 the weights at the end are those of the beginning."""
    monkeypatch.chdir(tmp_path)
    make_weights(tmp_path / "old" / "weights.safetensors", seed=4)
    result = run(*FIT, "--from", "old", "--size", "32", "--set", "train.lr=1e-30", "--set", "train.ema=0")
    assert result.exit_code == 0, result.output
    assert "starting from old/weights.safetensors (shapes, step 1): 100% of the weights" in result.output
    old, new = load_file("old/weights.safetensors"), load_file("r/weights.safetensors")
    assert old.keys() == new.keys()
    torch.testing.assert_close(new, old, rtol=0, atol=1e-20)
    assert json.loads(Path("r/config.json").read_text())["train"]["start_from"] == "old"


@pytest.mark.slow
def test_frozen_encoders_stay_as_they_are_also_when_resumed(tmp_path: Path) -> None:
    first = small_job(tmp_path / "a", train__max_steps=2)
    fit(first)
    start = str(tmp_path / "a")
    changes = {"train__start_from": start, "train__freeze": True, "train__max_steps": 2}
    fit(small_job(tmp_path / "b", **changes))
    (tmp_path / "a" / "weights.safetensors").rename(tmp_path / "kept.safetensors")  # not needed any more
    fit(small_job(tmp_path / "b", resume=True, **(changes | {"train__max_steps": 4})))
    old, new = load_file(tmp_path / "kept.safetensors"), load_file(tmp_path / "b" / "weights.safetensors")
    same = {name for name in old if torch.equal(old[name], new[name])}
    encoders = {name for name in old if name.startswith(("encode_condition.", "encode_photo."))}
    assert encoders - same == {"encode_condition.stem.weight"}  # which reads the classes
    assert not any(name.startswith("generator.blocks") and name in same for name in old if "weight" in name)


def test_weights_that_cannot_serve_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    poses = ConditionSpec("channels", ("nose", "neck"), ((0, 0, 0),) * 2)
    make_weights(Path("poses.safetensors"), spec=poses)
    Path("cut.safetensors").write_bytes(make_weights(Path("good.safetensors")).read_bytes()[:-100])
    for args, words in (
        (["--from", "poses.safetensors"], "its conditions are channels, those of shapes are labels"),
        (["--from", "cut.safetensors"], "cut.safetensors: cut off, or not a .safetensors file"),
        (["--from", "none.safetensors"], "none.safetensors: no such weights file"),
        (["--freeze"], "train.freeze: needs train.start_from (fit --from)"),
        (
            ["--from", "good.safetensors", "--freeze", "--set", "model.encoder_widths=[16,16,16]"],
            "--freeze: ",
        ),
    ):
        result = run(*FIT, "--size", "32", *args)
        assert result.exit_code == 2, result.output
        assert words in result.output.splitlines()[-1]
        assert not Path("r").exists()


def test_the_seed_of_what_is_new_is_the_runs(tmp_path: Path) -> None:
    mine = small_config(train__start_from="x")
    path = make_weights_of(tmp_path / "old.safetensors", mine, spec("a"))
    one, same, other = (
        start_from(path, replace(mine, train=replace(mine.train, seed=s)), spec("b"))[0] for s in (1, 1, 2)
    )
    name = "encode_condition.stem.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
