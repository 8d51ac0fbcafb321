"""The networks against their equations, and what holds of them for all weights: sizes, ranges, layout."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.core.config import ModelConfig, resolve
from mcltool.model import lean, published
from mcltool.model.attention import SelfAttention
from mcltool.model.blocks import (
    ConditionEmbedding,
    Padding,
    groups,
    planes,
    positional_norm,
    positions,
    pyramid,
)
from mcltool.model.build import make_network
from mcltool.model.correspondence import (
    attention_warp,
    best_match,
    from_patches,
    patches,
)
from mcltool.model.discriminator import Discriminator
from mcltool.model.lean import FeatureEncoder, Generator, SpadeBlock, cell_logits, coordinates
from mcltool.model.losses import marginal_contrastive
from mcltool.model.network import MCLNet

SMALL = ModelConfig(
    encoder_widths=(8, 8, 12),
    feature_channels=10,
    scm_channels=6,
    generator_widths=(8, 8, 12),
    spade_hidden=8,
    discriminator_widths=(8, 12),
)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


# --- Blocks and networks ---


def test_positional_norm_is_mean_0_and_deviation_1_over_channels() -> None:
    x = 3 * torch.randn(2, 6, 3, 4) + 1
    exact = x.double()
    mean = exact.mean(1, keepdim=True)
    deviation = ((exact - mean) ** 2).mean(1, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(positional_norm(x).double(), (exact - mean) / deviation, rtol=1e-5, atol=1e-5)


def test_self_attention_starts_as_the_identity_and_is_attention_over_positions() -> None:
    layer = SelfAttention(16)
    x = torch.randn(2, 16, 3, 4)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gain, 0.7)
    q, k, v = (positions(f(x)) for f in (layer.query, layer.key, layer.value))
    T = (q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(2)
    torch.testing.assert_close(layer(x), x + 0.7 * layer.out(planes(T @ v, (3, 4))))


@pytest.mark.parametrize("channels", [1, 3, 7, 12, 64])
def test_groups_divide_the_channels(channels: int) -> None:
    assert channels % groups(channels) == 0


@pytest.mark.parametrize("width", [0, 6])
def test_labels_are_embedded_as_their_one_hot_planes_are(width: int) -> None:
    embedding = ConditionEmbedding(4, width)
    labels = torch.randint(0, 4, (2, 6, 8), dtype=torch.uint8)
    planes = F.one_hot(labels.long(), 4).permute(0, 3, 1, 2).float()
    found = embedding(labels)
    assert found.shape == (2, embedding.channels, 6, 8)
    torch.testing.assert_close(found, embedding(planes))
    literal = planes if embedding.weight is None else torch.einsum("bkhw,ke->behw", planes, embedding.weight)
    torch.testing.assert_close(found, literal)


def test_the_average_of_embeddings_is_the_embedding_of_the_class_shares() -> None:
    """So that coarser levels may average the embedded condition."""
    embedding = ConditionEmbedding(4, 6)
    labels = torch.randint(0, 4, (2, 8, 8))
    shares = F.avg_pool2d(F.one_hot(labels, 4).permute(0, 3, 1, 2).float(), 4)
    torch.testing.assert_close(pyramid(embedding(labels), 3)[2], embedding(shares))


@pytest.mark.parametrize("labels", [torch.full((1, 4, 4), 4), torch.full((1, 4, 4), 200, dtype=torch.uint8)])
@pytest.mark.parametrize("width", [0, 6])
def test_labels_that_are_no_class_are_refused(labels: Tensor, width: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        ConditionEmbedding(4, width)(labels)


def test_an_embedded_condition_teaches_its_classes_alone() -> None:
    embedding = ConditionEmbedding(4, 6)
    embedding(torch.tensor([[[1, 1], [3, 1]]])).sum().backward()
    assert embedding.weight is not None
    assert embedding.weight.grad is not None
    assert embedding.weight.grad[:, 0].tolist() == [0, 3, 0, 1]


def test_a_pyramid_halves_by_averages() -> None:
    x = torch.randn(2, 3, 8, 12)
    first, half, quarter = pyramid(x, 3)
    assert first is x
    torch.testing.assert_close(half, F.avg_pool2d(x, 2))
    torch.testing.assert_close(quarter, F.avg_pool2d(x, 4))


@pytest.mark.parametrize("position", [False, True])
@pytest.mark.parametrize(
    ("stem", "widths"),
    [
        (1, (4, 8, 8)), (1, (4, 8, 8, 12, 12)), (1, (4, 8, 8, 8, 8, 8)), (2, (8, 8)), (2, (8, 8, 12, 12)), (4, (8,)),
        (4, (8, 12, 12, 8)),
    ],
)  # fmt: skip
def test_encoders_give_features_at_a_quarter_of_any_size(
    stem: int, widths: tuple[int, ...], position: bool
) -> None:
    encoder = FeatureEncoder(5, widths, 10, position, stem)
    for height, width in ((32, 32), (64, 96)):
        assert encoder(torch.randn(2, 5, height, width)).shape == (2, 10, height // 4, width // 4)


def test_coordinates_go_from_edge_to_edge() -> None:
    y, x = coordinates(torch.empty(1, 3, 2, 4))[0]
    assert y[:, 0].tolist() == [-0.5, 0.5]
    assert x[0].tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_an_encoder_that_sees_positions_tells_them_apart() -> None:
    """On a blank picture, away from the edges."""
    blank = torch.zeros(1, 3, 96, 96)
    inner = slice(8, 16)
    seen = [
        FeatureEncoder(3, (8, 8, 8), 8, position)(blank)[0, :, inner, inner] for position in (True, False)
    ]
    spread = [features.std((1, 2)).max().item() for features in seen]
    assert spread[0] > 1e-3
    assert spread[1] < 1e-5


def test_the_modulations_of_a_block_may_read_one_hidden_layer() -> None:
    """With one kernel for both: a shared block is one whose modulations have the same first layer."""
    shared, separate = (SpadeBlock(6, 4, 5, hidden=8, kernel=1, shared=shared) for shared in (True, False))
    weights = shared.state_dict()
    first = {name: weights.pop(f"shared.{name}") for name in ("weight", "bias")}
    both = {f"modulation_{i}.shared.{name}": tensor for i in (1, 2) for name, tensor in first.items()}
    separate.load_state_dict(weights | both)
    x, guide = torch.randn(2, 6, 4, 4), torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(shared(x, guide), separate(x, guide))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generated_images_are_float32_in_minus_1_to_1(dtype: torch.dtype) -> None:
    generator = Generator(5, (8, 8, 12, 16), hidden=8, kernel=3)
    nn.init.normal_(generator.to_image.weight, std=3)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        image = generator(torch.randn(2, 3, 32, 64), torch.rand(2, 5, 32, 64))
    assert (image.shape, image.dtype) == ((2, 3, 32, 64), torch.float32)
    assert image.abs().max() <= 1
    assert image.abs().max() > 0.9


def test_a_residual_generator_that_adds_nothing_gives_the_mean_colours_of_the_warps_cells() -> None:
    generator = Generator(5, (8, 8, 12, 16), hidden=8, kernel=3, residual=True).eval()
    for parameter in generator.to_image.parameters():
        nn.init.zeros_(parameter)
    colours = torch.tensor([[-0.9, 0.0, 0.5], [0.8, -0.2, -1.0]])
    noise = torch.tensor([[0.1, -0.1] * 16, [-0.1, 0.1] * 16] * 16)  # no mean in any cell
    warped = (colours[:, :, None, None] + noise * torch.tensor([1.0, 1.0, 0.0])[:, None, None]).clamp(-1, 1)
    image = generator(warped, torch.rand(2, 5, 32, 32))
    expected = colours.clamp(-0.98, 0.98)[:, :, None, None].expand(2, 3, 32, 32)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)


def test_with_replicate_padding_an_even_guide_gives_an_even_picture() -> None:
    """Zeros tell the generator where the border is; what it draws there is the same in every picture."""
    warped, condition = torch.full((1, 3, 64, 96), 0.3), torch.full((1, 5, 64, 96), 0.2)

    def spread(padding: Padding) -> float:
        torch.manual_seed(0)
        generator = Generator(5, (8, 8, 12, 16), 8, 3, shared=True, residual=True, padding=padding).eval()
        return generator(warped, condition).std((2, 3)).max().item()

    assert spread("replicate") < 1e-5
    assert spread("zeros") > 1e-2


def test_a_residual_generator_is_smooth_between_two_cells() -> None:
    logits = cell_logits(torch.tensor([-0.5] * 4 + [0.5] * 4).expand(1, 3, 4, 8))
    steps = logits[0, 0, 0].diff()
    assert (steps >= 0).all(), "the step between two cells is a ramp"
    assert steps.max() == pytest.approx(2 * math.atanh(0.5) / 4)


def test_discriminators_give_every_layer_at_every_scale_and_see_the_condition() -> None:
    discriminator = Discriminator(5, (8, 12, 16), scales=2).eval()
    X, image = torch.rand(2, 5, 64, 64), torch.randn(2, 3, 64, 64)
    scales = discriminator(X, image)
    sizes = [[tuple(layer.shape[1:]) for layer in scale] for scale in scales]
    assert sizes == [
        [(8, 32, 32), (12, 16, 16), (16, 17, 17), (1, 17, 17)],
        [(8, 16, 16), (12, 8, 8), (16, 9, 9), (1, 9, 9)],
    ]
    coarse = discriminator.scales[1](F.avg_pool2d(torch.cat([X, image], 1), 2))
    torch.testing.assert_close(scales[1][-1], coarse[-1])
    assert not torch.equal(discriminator(X.flip(3), image)[0][-1], scales[0][-1])


def test_the_discriminators_weights_have_spectral_norm_1() -> None:
    discriminator = Discriminator(3, (8, 12), scales=1).train()
    for _ in range(30):  # a power iteration a pass
        discriminator(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    for layer in [*discriminator.scales[0].layers, discriminator.scales[0].score]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)


# --- The whole (one set of weights, every size) ---


@pytest.fixture(scope="module")
def tiny() -> MCLNet:
    """The preset tiny with random weights, made for 64 x 64."""
    torch.manual_seed(1)
    return make_network(resolve("shapes", "tiny").model, 6, (64, 64)).eval()


def labels(height: int, width: int) -> Tensor:
    """Three stripes of classes, one-hot."""
    classes = (torch.arange(width) * 3 // width).expand(1, height, width)
    return F.one_hot(classes, 6).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("size", "exemplar_size"),
    [((64, 64), (64, 64)), ((96, 64), (32, 96)), ((128, 128), (64, 64)), ((64, 44), (36, 100))],
)
def test_the_same_weights_serve_every_size(
    tiny: MCLNet, size: tuple[int, int], exemplar_size: tuple[int, int]
) -> None:
    X = labels(*size)
    one, other = (torch.rand(1, 3, *exemplar_size) * 2 - 1 for _ in range(2))
    with torch.inference_mode():
        first, second, elsewhere = tiny(X, one), tiny(X, other), tiny(X.flip(3), one)
    assert first.image.shape == first.warped.shape == (1, 3, *size)
    for picture in first:
        assert picture.isfinite().all()
        assert picture.abs().max() <= 1 + 1e-5
    assert (first.image - second.image).abs().mean() > 1e-3, "the exemplar does not matter"
    assert (first.image - elsewhere.image).abs().mean() > 1e-3, "the condition does not matter"
    assert first.image.std() > 1e-3


@pytest.mark.parametrize("network", ["lean", "published"])
def test_sides_are_padded_to_multiples_of_32_inside(network: str) -> None:
    """The generator's picture is that of the padded guide, cropped: what is padded is the edge, repeated."""
    torch.manual_seed(1)
    made = {"lean": lean.Generator(6, (8,) * 6, 8, 3), "published": published.Generator(9, (8,) * 6, 8)}
    generator = made[network].eval()
    warped, X = torch.rand(1, 3, 68, 76), torch.rand(1, 6, 68, 76)
    rows, columns = (torch.arange(96).clamp_max(side - 1) for side in (68, 76))
    with torch.inference_mode():
        whole = generator(warped[:, :, rows][..., columns], X[:, :, rows][..., columns])
        assert torch.equal(generator(warped, X), whole[:, :, :68, :76])


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (128, 128)])
def test_where_features_are_equal_the_warp_gives_the_exemplar_itself(
    tiny: MCLNet, size: tuple[int, int]
) -> None:
    """An identity that holds at every size: softmax over equal features picks the same place."""
    image = torch.rand(1, 3, *size) * 2 - 1
    with torch.inference_mode():
        v = tiny.photo_features(image)
        sharp = attention_warp(v, v, patches(image), temperature=1e-5)
        match, cosine = best_match(v, v)
    N = size[0] * size[1] // 16
    assert (match[0] == torch.arange(N)).float().mean() > 0.99
    torch.testing.assert_close(cosine, torch.ones(1, N))
    assert (from_patches(sharp, (size[0] // 4, size[1] // 4)) - image).abs().mean() < 0.01


def test_the_warp_follows_the_temperature_of_the_configuration() -> None:
    nets = [
        make_network(ModelConfig(**(SMALL.__dict__ | {"temperature": tau})), 4, (32, 32))
        for tau in (0.01, 1.0)
    ]
    u, v, image = unit(1, 64, 16), unit(1, 64, 16), torch.randn(1, 3, 32, 32)
    for net, tau in zip(nets, (0.01, 1.0), strict=True):
        expected = from_patches(attention_warp(u, v, patches(image), tau), (8, 8))
        assert torch.equal(net.warp(u, v, image, (32, 32)), expected)


def test_mcls_gradient_reaches_both_encoders_and_the_scm_layer() -> None:
    net = make_network(SMALL, 4, (32, 32))
    X, Y = (
        F.one_hot(torch.randint(0, 4, (2, 32, 32)), 4).permute(0, 3, 1, 2).float(),
        torch.randn(2, 3, 32, 32),
    )
    u, y = net.condition_features(X), net.photo_features(Y)
    marginal_contrastive(u, y, 0.25, 20.0).backward()
    scm = {name for name, _ in net.named_parameters() if "scm" in name}
    assert scm == {"correspondence.scm.weight", "correspondence.scm.bias"}
    for name, parameter in net.named_parameters():
        is_weight = parameter.ndim > 1  # biases before a normalisation have none
        if name.startswith("generator"):
            assert parameter.grad is None
        elif is_weight:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-7, name
