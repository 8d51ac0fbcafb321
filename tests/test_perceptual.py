"""Feature scales: the perceptual losses weigh the same with any network, whatever the scale of its activations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mcltool.cli.main import cli
from mcltool.core.config import LossConfig
from mcltool.core.convert import convert_weights
from mcltool.core.pretrained import load_scales, load_vgg, vgg_file
from mcltool.data.batch import Batch
from mcltool.model.vgg import LAYERS, PUBLISHED_SCALES, VGGFeatures, dead_leaves, layer_scales, random_vgg
from mcltool.train.objective import FeatureObjective

LOUDER = {"relu1_2": 40.0, "relu2_2": 0.02, "relu3_2": 300.0, "relu4_2": 7.0, "relu5_2": 0.5}


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def convolutions(network: VGGFeatures) -> dict[int, nn.Conv2d]:
    return {i: layer for i, layer in enumerate(network.features) if isinstance(layer, nn.Conv2d)}


def rescaled(network: VGGFeatures, factors: dict[str, float]) -> VGGFeatures:
    """The same network, each of whose layers answers ``factors`` times as loud (a ReLU commutes with that)."""
    found = convolutions(network)
    with torch.no_grad():
        for name, factor in factors.items():
            before = LAYERS[name] - 1
            found[before].weight *= factor
            assert found[before].bias is not None
            found[before].bias *= factor
            after = [index for index in found if index > before]
            if after:
                found[min(after)].weight /= factor
    return network


def inputs() -> Batch:
    torch.manual_seed(5)
    X = torch.zeros(2, 64, 64, dtype=torch.uint8)
    Y, Z, P = (torch.rand(2, 3, 64, 64) * 2 - 1 for _ in range(3))
    return Batch(X, Y, Z, P, X, torch.ones(2, dtype=torch.bool))


@pytest.mark.slow
def test_scales_are_the_layers_mean_activations_on_the_pictures() -> None:
    """Against a pass in float64, layer after layer."""
    network = random_vgg(1)
    h = (dead_leaves().double() + 1) / 2
    h = (h - network.mean.double()) / network.deviation.double()
    expected = {}
    for index, layer in enumerate(random_vgg(1).double().features):
        h = layer(h)
        expected |= {name: float(h.mean()) for name, place in LAYERS.items() if place == index}
    assert layer_scales(network) == pytest.approx(expected, rel=1e-4)


def test_the_pictures_are_always_the_same_and_differ_from_one_another() -> None:
    pictures = dead_leaves(side=32)
    assert torch.equal(pictures, dead_leaves(side=32))
    assert pictures.amin() >= -1
    assert pictures.amax() <= 1
    assert (pictures[0] - pictures[1]).abs().mean() > 0.1


@pytest.mark.slow
def test_losses_are_the_same_however_loud_the_network_is() -> None:
    x, image = inputs(), torch.rand(2, 3, 64, 64) * 2 - 1

    def terms(network: VGGFeatures) -> dict[str, Tensor]:
        network.in_published_units(layer_scales(network))
        return FeatureObjective(network, LossConfig())(x, image)

    plain, loud = terms(random_vgg()), terms(rescaled(random_vgg(), LOUDER))
    assert list(plain) == ["perc", "feat", "ctx"]
    torch.testing.assert_close(plain, loud, rtol=1e-3, atol=0.0)


@pytest.mark.slow
def test_in_published_units_a_layer_is_as_loud_as_caffes() -> None:
    network = random_vgg()
    network.in_published_units(layer_scales(network))
    features = network(dead_leaves(), tuple(LAYERS))
    assert {name: float(h.mean()) for name, h in zip(LAYERS, features, strict=True)} == pytest.approx(
        PUBLISHED_SCALES, rel=1e-4
    )
    assert layer_scales(network) == pytest.approx(
        layer_scales(random_vgg())
    )  # of the filters, not of the units


TRAIN = (
    "fit --plugin shapes --preset tiny --perceptual vgg --max-steps 1 --batch-size 1 --workers 0 --device cpu "
    "--size 32 --precision fp32 --set train.generator_start=0 --set train.validation_samples=0 --run r"
)
FIT = TRAIN.split(" ")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VGG-19 as an mcltool without scales converted it."""
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    vgg_file().parent.mkdir(parents=True)
    save_file(random_vgg().state_dict(), vgg_file(), metadata={"source_sha256": "dcbb9e9d" + "0" * 56})
    return vgg_file()


@pytest.mark.slow
def test_a_file_without_scales_is_refused_until_convert_has_added_them(old: Path) -> None:
    refused = run(*FIT)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1), refused.output
    assert f"{old}: has no feature scales" in refused.output
    assert f"'mcltool weights convert {old}'" in refused.output
    assert not Path("r").exists()

    before = load_file(old)
    converted = run("weights", "convert", str(old))
    assert (converted.exit_code, converted.output) == (0, f"weights: {old}\n")
    assert load_scales(old) == pytest.approx(layer_scales(random_vgg()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(old).items())
    trained = run(*FIT)
    assert trained.exit_code == 0, trained.output
    row = json.loads(Path("r/metrics.jsonl").read_text().splitlines()[0])
    assert row["loss_perc"] > 0


@pytest.mark.slow
def test_get_adds_them_to_what_is_there(old: Path) -> None:
    assert run("weights", "get", "vgg19").exit_code == 0
    assert load_scales(old) == pytest.approx(layer_scales(load_vgg(old)))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"relu1_2": 0}', '{"relu1_2": NaN}'])
def test_scales_that_make_no_sense_are_missing(text: str, old: Path) -> None:
    save_file(random_vgg().state_dict(), old, metadata={"scales": text})
    assert "has no feature scales" in run(*FIT).output


@pytest.mark.slow
def test_a_network_with_a_dead_layer_is_not_converted(tmp_path: Path) -> None:
    network = random_vgg()
    with torch.no_grad():
        convolutions(network)[LAYERS["relu4_2"] - 1].weight.zero_()
    torch.save(network.state_dict(), tmp_path / "dead.pth")
    with pytest.raises(Exception, match="not trained weights: relu4_2 is 0 on average"):
        convert_weights(tmp_path / "dead.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
