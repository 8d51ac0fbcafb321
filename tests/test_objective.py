"""What the networks are trained for: which terms there are, and that each is what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mcltool import ConditionSpec
from mcltool.core.config import LossConfig, ModelConfig
from mcltool.data.batch import Batch
from mcltool.model import losses
from mcltool.model.build import make_network
from mcltool.model.correspondence import attention_warp, from_patches, patches
from mcltool.model.discriminator import Discriminator
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures, random_vgg
from mcltool.train.objective import (
    ADVERSARIAL_TERMS,
    CORRESPONDENCE_TERMS,
    FEATURE_TERMS,
    OUTPUT_TERMS,
    TERMS,
    AdversarialObjective,
    FeatureObjective,
    GeneratorObjective,
    class_shares,
    judge,
    known_shares,
    weighted,
)

SIZE = 32
SPEC = ConditionSpec("labels", ("unknown", "sky", "grass", "house"), ((0, 0, 0),) * 4, unknown=0)
CHANNELS = ConditionSpec("channels", ("a", "b", "c", "d"), ((0, 0, 0),) * 4)
MODEL = ModelConfig(
    encoder_widths=(8, 8, 8),
    feature_channels=8,
    scm_channels=4,
    generator_widths=(8, 8, 8),
    spade_hidden=8,
    discriminator_widths=(8, 8),
)
NOTHING = LossConfig(**dict.fromkeys(TERMS, 0.0))
EVERYTHING = LossConfig(**dict.fromkeys(TERMS, 1.0))


@pytest.fixture(scope="module")
def phi() -> VGGFeatures:
    return random_vgg()


@pytest.fixture
def net() -> MCLNet:
    torch.manual_seed(0)
    return make_network(MODEL, 4, (SIZE, SIZE))


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(4, MODEL.discriminator_widths, 2).eval()


@pytest.fixture
def x() -> Batch:
    """Two samples; only the second has the photo as the right answer."""
    torch.manual_seed(2)
    X, Z_labels = (
        F.one_hot(torch.randint(0, 4, (2, SIZE, SIZE)), 4).permute(0, 3, 1, 2).float() for _ in range(2)
    )
    Y, Z, P = (torch.rand(2, 3, SIZE, SIZE) * 2 - 1 for _ in range(3))
    return Batch(X, Y, Z, P, Z_labels, torch.tensor([False, True]))


# --- Shares of classes ---


def one_hot(rows: list[str], classes: int = 4) -> Tensor:
    """One picture (1, K, H, W) drawn with digits."""
    labels = torch.tensor([[int(digit) for digit in row] for row in rows])
    return F.one_hot(labels, classes).permute(2, 0, 1)[None].float()


# Two cells of 4 x 4 pixels: 4 of 16 pixels of class 1 in the first, the second half 2 and half 3.
DRAWN = one_hot(["11002233", "11002233", "00002233", "00002233"])


@pytest.mark.parametrize("condition", [DRAWN, DRAWN.argmax(1).byte()], ids=["planes", "labels"])
def test_class_shares_count_the_pixels_of_each_cell(condition: Tensor) -> None:
    assert class_shares(condition, 4).tolist() == [[[0.75, 0.25, 0, 0], [0, 0, 0.5, 0.5]]]


def test_known_shares_are_without_classes_the_exemplar_lacks() -> None:
    shares = class_shares(DRAWN, 4)
    exemplar = class_shares(one_hot(["00000000"] * 3 + ["00000032"]), 4)  # a pixel of each is enough
    assert known_shares(shares, exemplar, None).tolist() == [[[0.75, 0, 0, 0], [0, 0, 0.5, 0.5]]]
    assert known_shares(shares, exemplar, 0).tolist() == [[[0, 0, 0, 0], [0, 0, 0.5, 0.5]]]


def test_known_shares_look_at_each_samples_own_exemplar() -> None:
    X = torch.cat([DRAWN, DRAWN])
    exemplars = torch.cat([one_hot(["11111111"] * 4), one_hot(["22222222"] * 4)])
    one, other = known_shares(class_shares(X, 4), class_shares(exemplars, 4), 0)
    assert one.tolist() == [[0, 0.25, 0, 0], [0, 0, 0, 0]]
    assert other.tolist() == [[0, 0, 0, 0], [0, 0, 0.5, 0]]


# --- Which terms there are ---


def test_a_term_whose_weight_is_missing_is_never_left_out_of_the_sum() -> None:
    terms = {"rec": torch.tensor(2.0), "sharpness": torch.tensor(1.0)}
    with pytest.raises(AttributeError, match="sharpness"):
        weighted(terms, EVERYTHING)
    assert weighted({"rec": terms["rec"]}, replace(EVERYTHING, rec=3.0)).item() == 6.0


def test_a_detached_warp_leaves_the_correspondence_to_its_own_terms(net: MCLNet, x: Batch) -> None:
    for detached in (False, True):
        net.zero_grad()
        terms, _ = GeneratorObjective(net, replace(NOTHING, rec=1.0, detach_warp=detached), SPEC)(x, 0)
        terms["rec"].backward()
        assert (next(net.encode_photo.parameters()).grad is None) == detached
        assert next(net.generator.parameters()).grad is not None


@pytest.mark.parametrize("left_out", [None, *TERMS])
def test_a_weight_of_zero_leaves_its_term_out(
    left_out: str | None, net: MCLNet, discriminator: Discriminator, x: Batch, phi: VGGFeatures
) -> None:
    weights = replace(EVERYTHING, **({left_out: 0.0} if left_out else {}))
    made, image = GeneratorObjective(net, weights, SPEC)(x, 0)
    adversarial, _ = AdversarialObjective(discriminator, weights)(x, image)
    features = FeatureObjective(phi, weights)(x, image)
    assert list(made) == [n for n in (*CORRESPONDENCE_TERMS, *OUTPUT_TERMS) if n != left_out]
    assert list(adversarial) == [n for n in ADVERSARIAL_TERMS if n != left_out]
    assert list(features) == [n for n in FEATURE_TERMS if n != left_out]
    for term in (made | adversarial | features).values():
        assert term.ndim == 0
        assert term.isfinite()
        assert term.requires_grad
    assert image.shape == (2, 3, SIZE, SIZE)


@pytest.mark.slow
def test_each_objective_compiles_into_one_graph(
    net: MCLNet, discriminator: Discriminator, x: Batch, phi: VGGFeatures
) -> None:
    """As train.compile has them; here no code is generated."""
    generator = GeneratorObjective(net, EVERYTHING, SPEC)
    features, adversarial = FeatureObjective(phi, EVERYTHING), AdversarialObjective(discriminator, EVERYTHING)
    for module, arguments in ((generator, (x, 0)), (features, (x, x.target)), (adversarial, (x, x.target))):
        torch.compile(module, backend="eager", fullgraph=True)(*arguments)


def test_before_the_generator_joins_the_warped_exemplar_stands_in_its_place(net: MCLNet, x: Batch) -> None:
    terms, image = GeneratorObjective(net, EVERYTHING, SPEC)(x, 0, generate=False)
    assert set(terms) == set(CORRESPONDENCE_TERMS)
    assert not image.requires_grad
    close(image, net(x.condition, x.exemplar).warped, atol=1e-4)


def test_channel_conditions_have_no_warped_mask(net: MCLNet, x: Batch) -> None:
    terms, _ = GeneratorObjective(net, EVERYTHING, CHANNELS)(x, 0)
    assert "mask" not in terms


# --- What each term is ---


class Parts(NamedTuple):
    """The networks' outputs for ``x``, each computed on its own."""

    u: Tensor
    v: Tensor
    y: Tensor
    image: Tensor
    warped: Tensor


def parts_of(net: MCLNet, x: Batch) -> Parts:
    made = net(x.condition, x.exemplar)
    return Parts(
        net.condition_features(x.condition),
        net.photo_features(x.exemplar),
        net.photo_features(x.target),
        made.image,
        made.warped,
    )


def only(name: str, net: MCLNet, x: Batch, **settings: float | bool) -> Tensor:
    """The term ``name`` where no other is asked for."""
    weights = replace(NOTHING, **{name: 1.0}, **settings)
    terms, _ = GeneratorObjective(net, weights, SPEC)(x, step=5)
    assert set(terms) == {name}
    return terms[name]


def close(found: Tensor, wanted: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=atol)


def test_the_correspondence_terms_are_those_of_the_method(net: MCLNet, x: Batch) -> None:
    p, tau = parts_of(net, x), net.temperature
    close(only("warp", net, x), (p.warped[1] - x.target[1]).abs().mean() / 2)  # of two samples one is paired
    close(only("cons", net, x), (net.encode_condition(x.condition) - net.encode_photo(x.target)).abs().mean())
    back = (p.v @ p.u.transpose(1, 2) / tau).softmax(2) @ patches(p.warped)
    close(only("cyc", net, x), (back - patches(x.exemplar)).abs().mean())
    augmented = net.warp(p.u, net.photo_features(x.augmented), x.augmented, (SIZE, SIZE))
    close(only("pse", net, x), (augmented - x.target).abs().mean())
    shares = (p.u @ p.v.transpose(1, 2) / tau).softmax(2) @ class_shares(x.exemplar_condition, 4)
    known = known_shares(class_shares(x.condition, 4), class_shares(x.exemplar_condition, 4), unknown=0)
    close(only("mask", net, x), losses.warped_mask(shares, known))


def test_the_mask_travels_with_the_picture_and_changes_neither(net: MCLNet, x: Batch) -> None:
    """One attention warps colours and class shares together."""
    objective = GeneratorObjective(net, replace(NOTHING, mask=1.0, warp=1.0), SPEC)
    terms, warped = objective(x, 0, generate=False)
    close(terms["warp"], only("warp", net, x))
    close(terms["mask"], only("mask", net, x))
    p = parts_of(net, x)
    alone = from_patches(attention_warp(p.u, p.v, patches(x.exemplar), net.temperature), (8, 8))
    close(warped, alone, atol=1e-4)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_contrast_is_over_all_positions_with_the_configured_margin_and_scale(
    net: MCLNet, x: Batch, symmetric: bool
) -> None:
    p = parts_of(net, x)
    found = only("mcl", net, x, mcl_margin=0.3, mcl_scale=7.0, mcl_symmetric=symmetric)
    close(found, losses.marginal_contrastive(p.u, p.y, 0.3, 7.0, symmetric))


def test_sampled_positions_change_from_step_to_step_and_repeat_with_it(net: MCLNet, x: Batch) -> None:
    objective = GeneratorObjective(net, replace(NOTHING, mcl=1.0, mcl_positions=16), SPEC)
    first, again, next_one = (objective(x, step, False)[0]["mcl"].item() for step in (7, 7, 8))
    assert first == again != next_one
    everything = GeneratorObjective(net, replace(NOTHING, mcl=1.0, mcl_positions=64), SPEC)
    assert everything(x, 7, False)[0]["mcl"].item() == pytest.approx(only("mcl", net, x).item())


@pytest.mark.parametrize("detached", [True, False])
def test_a_detached_photo_side_gets_no_gradient_from_the_contrast(
    net: MCLNet, x: Batch, detached: bool
) -> None:
    only("mcl", net, x, mcl_detach_photo=detached).backward()

    def is_taught(module: torch.nn.Module) -> bool:
        return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())

    assert is_taught(net.encode_condition)
    assert is_taught(net.correspondence)
    assert is_taught(net.encode_photo) is not detached


def test_the_generation_terms_are_those_of_the_method(
    net: MCLNet, discriminator: Discriminator, x: Batch, phi: VGGFeatures
) -> None:
    image = parts_of(net, x).image
    close(only("rec", net, x), (image[1] - x.target[1]).abs().mean() / 2)  # of two samples one is paired
    terms, loss = AdversarialObjective(discriminator, EVERYTHING)(x, image)
    real, fake = discriminator(x.condition, x.target), discriminator(x.condition, image)
    close(terms["gan"], -(fake[0][-1].mean() + fake[1][-1].mean()) / 2)
    close(terms["fm"], losses.feature_matching(real, fake, x.paired))
    close(loss, losses.hinge_discriminator([s[-1] for s in real], [s[-1] for s in fake]))
    terms = FeatureObjective(phi, EVERYTHING)(x, image)

    def layer(name: str, photo: Tensor) -> Tensor:
        return phi(photo, [name])[0]

    close(terms["perc"], (layer("relu4_2", image) - layer("relu4_2", x.target)).square().mean())
    names = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1}
    feat = [k * losses.l1(layer(name, image), layer(name, x.target), x.paired) for name, k in names.items()]
    close(terms["feat"], torch.stack(feat).sum())
    names = {"relu3_2": 2, "relu4_2": 4, "relu5_2": 8}
    ctx = [k * losses.contextual(layer(name, image), layer(name, x.exemplar)) for name, k in names.items()]
    close(terms["ctx"], torch.stack(ctx).sum())


def test_what_needs_the_right_answer_is_zero_where_there_is_none(
    net: MCLNet, discriminator: Discriminator, x: Batch, phi: VGGFeatures
) -> None:
    x = x._replace(paired=torch.tensor([False, False]))
    terms, image = GeneratorObjective(net, EVERYTHING, SPEC)(x, 0)
    terms |= AdversarialObjective(discriminator, EVERYTHING)(x, image)[0]
    terms |= FeatureObjective(phi, EVERYTHING)(x, image)
    assert {name for name, term in terms.items() if term.item() == 0} == {"warp", "rec", "fm", "feat"}


# --- The discriminator ---


def test_the_discriminator_judges_both_images_as_it_would_each_alone(
    discriminator: Discriminator, x: Batch
) -> None:
    real, fake = judge(discriminator, x.condition, x.target, x.exemplar)
    for together, alone in (
        (real, discriminator(x.condition, x.target)),
        (fake, discriminator(x.condition, x.exemplar)),
    ):
        for scale_together, scale_alone in zip(together, alone, strict=True):
            for a, b in zip(scale_together, scale_alone, strict=True):
                close(a, b)
