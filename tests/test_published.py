"""The preset ``paper``: its sizes against the published ones, its layers against their equations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from bench.published import ROWS, Row, operations, parameters
from safetensors.torch import save_file
from torch import Tensor, nn

from mcltool.core.config import ModelConfig, resolve
from mcltool.core.errors import UsageError
from mcltool.core.weights import FORMAT, load_model
from mcltool.data.batch import random_batch
from mcltool.model.attention import SelfAttention
from mcltool.model.blocks import planes, positional_norm, positions
from mcltool.model.build import make_discriminator, make_network
from mcltool.model.correspondence import averages, centred_unit, from_averages
from mcltool.model.published import PublishedNet, SpadeBlock
from mcltool.plugin import registry
from mcltool.train.trainer import Trainer

K, SIZE = 4, (64, 64)
SMALL = ModelConfig(
    network="published",
    values="averages",
    mix_condition=True,
    encoder_widths=(4, 6, 8, 10, 10),
    feature_channels=8,
    scm_channels=6,
    generator_widths=(8, 8, 8, 10),
    spade_hidden=8,
    discriminator_widths=(8, 12),
)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def net() -> PublishedNet:
    torch.manual_seed(1)
    made = make_network(SMALL, K, SIZE).eval()
    assert isinstance(made, PublishedNet)
    return made


# --- Sizes (sections 6 and 7) ---


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_parameters_are_the_published_ones_within_1_percent_and_operations_within_5(row: Row) -> None:
    generator, correspondence, discriminator = parameters(row)
    assert generator == pytest.approx(row.generator, rel=0.01)
    assert correspondence == pytest.approx(row.correspondence, rel=0.01)
    if row.discriminator:
        assert discriminator == pytest.approx(row.discriminator, rel=0.01)
    if row.gflop:
        assert operations(row) == pytest.approx(row.gflop, rel=0.05)


def test_the_correspondence_is_made_up_as_published() -> None:
    with torch.device("meta"):
        ade = make_network(resolve("ade20k", "paper").model, 151, (256, 256))
    assert isinstance(ade, PublishedNet)
    parts = (ade.encode_condition, ade.encode_photo, ade.tail)
    sizes = [sum(p.numel() for p in part.parameters()) / 1e6 for part in parts]
    assert sizes == pytest.approx([24.23, 22.95, 11.93], abs=0.005)


# --- Correspondence ---


def test_features_are_gathered_over_3_by_3_neighbourhoods_before_the_cosine(net: PublishedNet) -> None:
    """Literally: nine positions' features side by side, 0 beyond the edges, then centred and of length 1."""
    x = torch.randn(2, 8, 3, 4)
    found = net.correspondence(x)
    padded = F.pad(x, (1, 1, 1, 1))
    for row in range(3):
        for column in range(4):
            near = padded[:, :, row : row + 3, column : column + 3].flatten(1)
            hat = centred_unit(near[:, None])[:, 0]
            torch.testing.assert_close(found[:, row * 4 + column, :72], hat * 0.5**0.5)
    assert net.correspondence.scm is not None
    shat = centred_unit(net.correspondence.scm(centred_unit(positions(x)), (3, 4)))
    torch.testing.assert_close(found[:, :, 72:], shat * 0.5**0.5)


def test_both_domains_share_the_tail_and_a_photo_has_no_mask(net: PublishedNet) -> None:
    x, X = torch.randn(1, 8, 16, 16), torch.rand(1, K, *SIZE)
    both = torch.cat([x, X[:, :, ::4, ::4]], 1)
    torch.testing.assert_close(
        net.match_condition(x, X), net.correspondence(net.project_condition(net.tail(both)))
    )
    empty = torch.cat([x, torch.zeros(1, K, 16, 16)], 1)
    torch.testing.assert_close(net.match_photo(x), net.correspondence(net.project_photo(net.tail(empty))))


def test_features_that_l_cons_compares_are_unit_vectors_at_a_quarter_of_the_size(net: PublishedNet) -> None:
    z = net.encode_photo(torch.randn(1, 3, 64, 96))
    assert z.shape == (1, 8, 16, 24)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(1, 16, 24))


def test_averages_are_those_of_4_by_4_pixels_and_come_back_as_even_patches() -> None:
    image = torch.randn(2, 3, 8, 12)
    V = averages(image)
    torch.testing.assert_close(V[:, 1 * 3 + 2], image[:, :, 4:8, 8:12].mean((2, 3)))
    back = from_averages(V, (2, 3))
    assert torch.equal(back[:, :, 4:8, 8:12], V[:, 5, :, None, None].expand(2, 3, 4, 4))


# --- Generator and discriminator ---


def test_a_block_that_changes_the_width_modulates_its_shortcut_too() -> None:
    block, x, guide = SpadeBlock(6, 4, 5, 8), torch.randn(1, 6, 4, 4), torch.randn(1, 5, 4, 4)
    assert block.conv_s is not None
    assert block.conv_s.bias is None

    def spade(module: nn.Module, h: Tensor) -> Tensor:
        def layer(conv: nn.Conv2d, of: Tensor) -> Tensor:
            return F.conv2d(F.pad(of, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias)

        scale, shift = layer(module.scale_shift, F.relu(layer(module.shared, guide))).chunk(2, 1)
        return positional_norm(h) * scale + shift

    def conv(module: nn.Conv2d, of: Tensor) -> Tensor:
        return F.conv2d(F.pad(of, (1, 1, 1, 1), mode="reflect"), module.weight, module.bias)

    h = conv(block.conv_1, F.leaky_relu(spade(block.modulation_1, x), 0.2))
    h = conv(block.conv_2, F.leaky_relu(spade(block.modulation_2, h), 0.2))
    shortcut = F.conv2d(spade(block.modulation_s, x), block.conv_s.weight)
    torch.testing.assert_close(block(x, guide), shortcut + h)


def test_pooled_attention_is_unscaled_over_the_largest_of_2_by_2_keys_and_values() -> None:
    layer, x = SelfAttention(16, pooled=True), torch.randn(2, 16, 4, 6)
    nn.init.constant_(layer.gain, 0.7)
    q = positions(layer.query(x))
    k, v = (positions(F.max_pool2d(f(x), 2)) for f in (layer.key, layer.value))
    T = (q @ k.transpose(1, 2)).softmax(2)
    torch.testing.assert_close(layer(x), x + 0.7 * layer.out(planes(T @ v, (4, 6))))


def test_images_are_in_minus_1_to_1_at_any_size_and_the_whole_is_forward(net: PublishedNet) -> None:
    X, Z = torch.randint(0, K, (2, 64, 96)), torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        found = net(X, Z)
        again = net.translate(X, net.encode_exemplars(Z))
    assert found.image.shape == found.warped.shape == (2, 3, 64, 96)
    assert found.image.abs().max() <= 1
    torch.testing.assert_close(found.image, again.image)


def test_the_discriminator_has_scores_of_4_by_4_kernels_behind_attention() -> None:
    judge = make_discriminator(SMALL, K)
    scales = judge(torch.randint(0, K, (2, 64, 64)), torch.randn(2, 3, 64, 64))
    assert [[tuple(layer.shape[1:]) for layer in scale] for scale in scales] == [
        [(8, 32, 32), (12, 33, 33), (1, 34, 34)],
        [(8, 16, 16), (12, 17, 17), (1, 18, 18)],
    ]
    assert scales[0][1].std() > 0


# --- Training ---


def trainer(**settings: object) -> Trainer:
    shapes = registry.load("shapes")
    config = resolve("shapes", "tiny", {"train.batch_size": 2, "train.lr": 1e-5})
    train = replace(config.train, generator_start=0.0, gan_start=0.0, **settings)  # type: ignore[arg-type]
    return Trainer(replace(config, model=SMALL, train=train), shapes.spec, torch.device("cpu"), "fp32", 10)


def test_saved_weights_are_the_trained_ones_over_their_largest_singular_values() -> None:
    """Without an average (ema 0), the saved network is the trained one, with plain convolutions."""
    it = trainer(ema=0.0)
    for _ in range(3):
        it.step(random_batch(2, SIZE, it.spec))
    assert not any("parametrizations" in name for name in it.average.state_dict())
    live = it.net.generator.blocks[0].conv_1
    original = live.parametrizations.weight.original
    estimate = (original / it.average.generator.blocks[0].conv_1.weight).mean().item()
    assert estimate == pytest.approx(torch.linalg.matrix_norm(original.flatten(1), 2).item(), rel=0.1)
    X, Z = torch.randint(0, 6, (1, *SIZE)), torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(it.net.eval()(X, Z).image, it.average(X, Z).image)


def test_what_is_computed_again_in_the_backward_pass_has_the_same_weights() -> None:
    runs = [trainer(recompute=recompute, ema=0.0) for recompute in (False, True)]
    batch = random_batch(2, SIZE, runs[0].spec)
    norms = [[run.step(batch).gradient_norm for _ in range(2)] for run in runs]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


# --- What it is not ---


def test_settings_of_the_other_network_are_refused_by_name() -> None:
    for settings in (
        {"spade_shared": True},
        {"residual": True},
        {"generator_padding": "replicate"},
        {"place": 0.3},
        {"position": True},
        {"condition_embedding": 8},
    ):
        (name,) = settings
        with pytest.raises(UsageError, match=rf"model\.{name}: is for model\.network = 'lean'"):
            ModelConfig(network="published", **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"model\.mix_condition: is for model\.network = 'published'"):
        ModelConfig(mix_condition=True)
    with pytest.raises(UsageError, match=r"data\.size: must be at least 64"):
        resolve("ade20k", "paper", {"data.size": (32, 64)})


def test_weights_of_paper_from_before_load_as_the_network_that_they_are(tmp_path: Path) -> None:
    """Their header says all widths and no network: they were of the lean one."""
    shapes = registry.load("shapes")
    small = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(SMALL).items()}
    new = ("network", "values", "encoder_kernel", "mix_condition")
    before = {name: value for name, value in small.items() if name not in new}
    config = json.loads(resolve("shapes", "tiny").to_json()) | {"preset": "paper", "model": before}
    lean = make_network(ModelConfig(**{n: v for n, v in vars(SMALL).items() if n not in new}), 6, SIZE)
    document = {
        "format_version": 1, "plugin_version": "1", "step": 3, "config": config,
        "condition": json.loads(shapes.spec.to_json()),
    }  # fmt: skip
    path = tmp_path / "before.safetensors"
    save_file(lean.state_dict(), path, {FORMAT: json.dumps(document)})
    found, header = load_model(path)
    assert type(found) is type(lean)
    assert (header.config.preset, header.config.model.network) == ("paper", "lean")
    X, Z = torch.randint(0, 6, (1, *SIZE)), torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(found(X, Z).image, lean.eval()(X, Z).image)
