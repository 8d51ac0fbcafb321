"""The published settings: configurations that come along, draws of exemplars, units of the perceptual weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from mcltool.cli.main import cli
from mcltool.core.config import CONFIGS, DataConfig, TrainConfig, read_toml, resolve
from mcltool.core.convert import CAFFE_MEAN, convert_weights
from mcltool.core.errors import UsageError
from mcltool.core.pretrained import load_vgg
from mcltool.data.batch import random_batch
from mcltool.data.dataset import TrainingData
from mcltool.model.vgg import VGGFeatures, random_vgg
from mcltool.plugin import registry
from mcltool.train.objective import TERMS
from mcltool.train.trainer import Optimiser, Trainer

NAMES = ("paper-ade20k", "paper-celebahq-mask", "paper-celebahq-parts", "paper-deepfashion")


def published(name: str) -> dict[str, object]:
    """The settings that a configuration resolves to."""
    found = read_toml(Path(name))
    plugin, preset = found.pop("plugin"), found.pop("preset")
    return resolve(plugin, preset, registry.load(plugin).defaults, found).settings()


def test_there_is_one_for_each_published_data_set() -> None:
    assert sorted(path.stem for path in CONFIGS.iterdir()) == sorted(NAMES)
    with pytest.raises(UsageError, match=r"--config paper-ade: no such file, and not one of paper-ade20k, "):
        read_toml(Path("paper-ade"))


@pytest.mark.parametrize("name", NAMES)
def test_every_line_says_where_it_is_from(name: str) -> None:
    lines = (CONFIGS / f"{name}.toml").read_text().splitlines()
    settings = [line for line in lines if " = " in line and not line.startswith(("#", "plugin"))]
    assert len(settings) > 30
    assert not [line for line in settings if not re.search(r"# .*\[(O|M|U|ours)\]", line)]


def test_what_differs_between_data_sets_is_as_docs_method_has_it() -> None:
    keys = ("loss.mask", "loss.cyc", "loss.warp", "loss.perc", "loss.perc_layer", "loss.feat", "train.epochs")
    found = {name: tuple(published(name)[key] for key in keys) for name in NAMES}
    assert found == {
        "paper-ade20k": (100.0, 0.0, 0.0, 0.01, "relu5_2", 1.0, 200),
        "paper-celebahq-parts": (0.0, 1.0, 0.0, 0.001, "relu4_2", 10.0, 60),
        "paper-celebahq-mask": (100.0, 0.1, 0.0, 0.001, "relu4_2", 10.0, 60),
        "paper-deepfashion": (0.0, 0.0, 100.0, 0.001, "relu4_2", 10.0, 100),
    }
    for name in NAMES:
        every = published(name)
        assert (every["train.eps"], every["train.ema"], every["train.perceptual"]) == (1e-3, 0.0, "caffe")
        assert every["model.network"] == "published"


def test_fit_takes_one_by_name_and_its_data_set_with_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["fit", "--config", "paper-celebahq-mask", "--root", str(tmp_path / "none")]
    )
    assert done.exit_code == 2
    assert "celebahq-mask" in done.output or "CelebAMask-HQ.zip" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_each_trains_every_network_by_every_published_term(name: str) -> None:
    """At 64 px, an eighth of the widths, and random filters for VGG-19's."""
    found = read_toml(Path(name))
    plugin, preset = registry.load(found.pop("plugin")), found.pop("preset")
    small = {
        "data.size": (64, 64),
        "model.encoder_widths": (8, 16, 32, 64, 64),
        "model.feature_channels": 32,
        "model.scm_channels": 32,
        "model.generator_widths": (8, 16, 32, 64, 128, 128),
        "model.spade_hidden": 16,
        "model.discriminator_widths": (8, 16, 32, 64),
    }
    config = resolve(plugin.name, preset, plugin.defaults, found | small)
    trainer = Trainer(config, plugin.spec, torch.device("cpu"), "fp32", 20, random_vgg())
    networks = (trainer.net, trainer.discriminator)
    before = [{n: p.clone() for n, p in network.named_parameters()} for network in networks]
    for _ in range(2):  # the second through the gain of the attention, which begins at 0
        result = trainer.step(random_batch(2, (64, 64), plugin.spec))
        assert not result.skipped
    weights = {f"loss_{term}": getattr(config.loss, term) for term in TERMS}
    wanted = {term for term, weight in weights.items() if weight}
    if plugin.spec.kind != "labels":
        wanted -= {"loss_mask"}
    assert result.losses.keys() - {"loss_total", "loss_discriminator"} == wanted
    still = [
        name
        for network, was in zip(networks, before, strict=True)
        for name, parameter in network.named_parameters()
        if torch.equal(parameter, was[name])
    ]
    assert not [name for name in still if not name.endswith("bias")], "biases before a norm have no gradient"


# --- Draws of exemplars ---


def test_exemplars_are_drawn_first_last_and_self_as_published() -> None:
    shapes = registry.load("shapes")
    samples = [replace(sample, group="") for sample in shapes.index(None, "train")[:6]]
    config = DataConfig(size=(64, 64), exemplar_self=0.3, exemplar_last=0.2)
    data = TrainingData(shapes, samples, config, 0, [[1, 2, 3], *([[0]] * 5)])
    generator = np.random.default_rng(0)
    drawn = Counter(data._choose_exemplar(0, generator) for _ in range(4000))
    assert {name: round(count / 4000, 1) for name, count in drawn.items()} == {1: 0.5, 3: 0.2, 0: 0.3}


def test_a_share_of_last_exemplars_beyond_what_is_left_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data\.exemplar_last: must be between 0 and 0\.7"):
        DataConfig(exemplar_self=0.3, exemplar_last=0.8)


def test_a_photo_that_is_its_own_exemplar_is_cropped_and_mirrored_only() -> None:
    """Each pixel of the exemplar is one of the photo, moved by whole pixels: nothing is interpolated."""
    shapes = registry.load("shapes")
    samples = [replace(sample, group="") for sample in shapes.index(None, "train")[:1]]
    config = DataConfig(size=(64, 64), load_scale=1.125, exemplar_affine=False, flip=False)
    item = TrainingData(shapes, samples, config, 3)[0]
    target, exemplar = item["target"].int(), item["exemplar"].int()
    best = min(
        (target.roll((dy, dx), (1, 2)) - exemplar)[:, 10:-10, 10:-10].abs().max().item()
        for dy in range(-8, 9)
        for dx in range(-8, 9)
    )
    assert best == 0


# --- Optimiser ---


def test_adams_epsilon_is_the_configured_one_for_the_generator_alone() -> None:
    train = TrainConfig(eps=1e-3)
    parameter = nn.Linear(1, 1)
    optimisers = [Optimiser(parameter, train, 0.1, "fp32", *eps) for eps in ((train.eps,), ())]
    assert [o.adam.param_groups[0]["eps"] for o in optimisers] == [1e-3, 1e-8]


# --- Caffe's features ---


def test_a_caffe_vgg_19_gives_its_own_features_of_bgr_bytes_less_their_mean(tmp_path: Path) -> None:
    """Converted, against the original's convolutions on the original's input."""
    filters = [layer for layer in random_vgg().features if isinstance(layer, nn.Conv2d)]
    names = [f"conv{b}_{n}" for b, count in enumerate((2, 2, 4, 4, 4), 1) for n in range(1, count + 1)]
    source = {
        f"{name}.{part}": getattr(layer, part) + 0.01
        for name, layer in zip(names, filters, strict=False)
        for part in ("weight", "bias")
    }
    torch.save(source, tmp_path / "vgg19_conv.pth")
    found = load_vgg(convert_weights(tmp_path / "vgg19_conv.pth", tmp_path / "out.safetensors"))
    image = torch.rand(1, 3, 32, 32) * 2 - 1

    h = (image + 1) / 2 * 255 - torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
    h = F.conv2d(h.flip(1), source["conv1_1.weight"], source["conv1_1.bias"])[:, :, 1:-1, 1:-1].relu()
    inner = (image + 1) / 2  # conv1_1 with torchvision's normalisation, away from the padding
    assert isinstance(found, VGGFeatures)
    mine = found.features[1](found.features[0]((inner - found.mean) / found.deviation))[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(mine, h, rtol=1e-3, atol=1e-2)
