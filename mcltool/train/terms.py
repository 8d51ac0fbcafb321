"""What the networks are trained for: one entry a loss term (docs/method.md has the equations).

A new term is an entry in the list of what it is computed from, its weight in LossConfig by the entry's name, and its
equation in mcltool/model/losses.py. Nothing else has to know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mcltool.core.config import LossConfig
from mcltool.data.batch import Batch
from mcltool.model import losses
from mcltool.model.blocks import positions
from mcltool.model.correspondence import STRIDE, attention_warp
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec

CONTEXTUAL_LAYERS = {"relu3_2": 2.0, "relu4_2": 4.0, "relu5_2": 8.0}
"""Layers of L_ctx and their weights (docs/method.md, section 5)."""
FEATURE_LAYERS = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
"""Layers of the VGG feature loss and their weights: the deeper, the more (pix2pixHD, arXiv 1711.11585)."""

Terms = dict[str, Tensor]
"""Unweighted terms by name."""
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Term(Generic[Seen]):
    """A loss term. name: its weight is LossConfig's field of that name; 0 leaves the term out.

    compute: the term, from what the networks have made so far. needs: what that must hold for it: "target" and
    "augmented" (target) besides the exemplar, or "labels". layers: of VGG-19, where it compares features.
    """

    name: str
    compute: Callable[[Seen], Tensor]
    needs: Collection[str] = ()
    layers: Callable[[LossConfig], Collection[str]] = lambda weights: ()

    def __post_init__(self) -> None:
        if self.name not in LossConfig.__dataclass_fields__:
            raise TypeError(f"loss term {self.name!r}: LossConfig has no weight of that name")


def weighted(terms: Terms, weights: LossConfig) -> Tensor:
    """The sum of the terms, each times its weight. Raises AttributeError for a term without one."""
    return torch.stack([getattr(weights, name) * term.float() for name, term in terms.items()]).sum()


def active(terms: Iterable[Term[Seen]], weights: LossConfig) -> list[Term[Seen]]:
    """The terms whose weights are not 0."""
    return [term for term in terms if getattr(weights, term.name)]


def needs(terms: Iterable[Term[Seen]]) -> set[str]:
    return {need for term in terms for need in term.needs}


# --- Terms of the correspondence (docs/method.md, sections 2 and 4) ---


@dataclass(frozen=True, eq=False)
class Matching:
    """The correspondence of a batch. N positions of C-channel features, D numbers each after the self-correlation map.

    x_BChw: features of the condition. z_BChw, v_BND: those of the photos, by name: "exemplar", "target", "augmented".
    u_BND: the condition's. warped: (B, 3, H, W), the warped exemplar. shares_BNK: class shares of the exemplar's
    cells, warped_shares_BNK: the same, warped (both only where a term needs "labels").
    step: seeds the choice of positions where L_mcl is sampled.
    """

    net: MCLNet
    weights: LossConfig
    spec: ConditionSpec
    x: Batch
    step: int
    x_BChw: Tensor
    z_BChw: Mapping[str, Tensor]
    u_BND: Tensor
    v_BND: Mapping[str, Tensor]
    warped: Tensor
    shares_BNK: Tensor | None
    warped_shares_BNK: Tensor | None


def _contrast(m: Matching) -> Tensor:
    w, u, y = m.weights, m.u_BND, m.v_BND["target"]
    if w.mcl_detach_photo:
        y = y.detach()
    if 0 < w.mcl_positions < u.shape[1]:
        draw = torch.Generator().manual_seed(m.step)
        chosen = losses.sampled_positions(u.shape[1], w.mcl_positions, draw, u.device)
        u, y = u[:, chosen], y[:, chosen]
    return losses.marginal_contrastive(u, y, w.mcl_margin, w.mcl_scale, w.mcl_symmetric)


def _warped_mask(m: Matching) -> Tensor:
    assert m.shares_BNK is not None
    assert m.warped_shares_BNK is not None
    wanted = known_shares(class_shares(m.x.condition, m.spec.channels), m.shares_BNK, m.spec.unknown)
    return losses.warped_mask(m.warped_shares_BNK, wanted, m.weights.mask_balance)


def _cycle(m: Matching) -> Tensor:
    back = attention_warp(m.v_BND["exemplar"], m.u_BND, m.net.values(m.warped), m.net.temperature)
    return losses.l1(back, m.net.values(m.x.exemplar))


def _pseudo_pair(m: Matching) -> Tensor:
    size = (m.warped.shape[2], m.warped.shape[3])
    return losses.l1(m.net.warp(m.u_BND, m.v_BND["augmented"], m.x.augmented, size), m.x.target)


CORRESPONDENCE_TERMS: Sequence[Term[Matching]] = (
    Term("warp", lambda m: losses.l1(m.warped, m.x.target, m.x.paired)),
    Term("mask", _warped_mask, needs=["labels"]),
    Term("mcl", _contrast, needs=["target"]),
    Term("cons", lambda m: losses.feature_consistency(m.x_BChw, m.z_BChw["target"]), needs=["target"]),
    Term("cyc", _cycle),
    Term("pse", _pseudo_pair, needs=["augmented"]),
)


# --- Terms of the generated image (docs/method.md, section 5) ---


class Output(NamedTuple):
    """image, warped: (B, 3, H, W), the generated one and the warped exemplar that it was made of."""

    x: Batch
    image: Tensor
    warped: Tensor


OUTPUT_TERMS: Sequence[Term[Output]] = (
    Term("rec", lambda o: losses.l1(o.image, o.x.target, o.x.paired)),
    Term("tone", lambda o: losses.tone(o.image, o.warped.detach(), ~o.x.paired)),
)


class Features(NamedTuple):
    """VGG-19's features by layer, of the generated image, its target and its exemplar."""

    weights: LossConfig
    x: Batch
    out: Mapping[str, Tensor]
    target: Mapping[str, Tensor]
    exemplar: Mapping[str, Tensor]


def _perceptual(f: Features) -> Tensor:
    layer = f.weights.perc_layer
    return losses.perceptual(f.out[layer], f.target[layer])


def _feature_l1(f: Features) -> Tensor:
    each = [k * losses.l1(f.out[name], f.target[name], f.x.paired) for name, k in FEATURE_LAYERS.items()]
    return torch.stack(each).sum()


def _contextual(f: Features) -> Tensor:
    each = [k * losses.contextual(f.out[name], f.exemplar[name]) for name, k in CONTEXTUAL_LAYERS.items()]
    return torch.stack(each).sum()


FEATURE_TERMS: Sequence[Term[Features]] = (
    Term("perc", _perceptual, needs=["target"], layers=lambda weights: [weights.perc_layer]),
    Term("feat", _feature_l1, needs=["target"], layers=lambda weights: FEATURE_LAYERS),
    Term("ctx", _contextual, needs=["exemplar"], layers=lambda weights: CONTEXTUAL_LAYERS),
)


class Judgement(NamedTuple):
    """The discriminator's layers, a list a scale with the scores last, on target and generated image."""

    x: Batch
    real: Sequence[Sequence[Tensor]]
    fake: Sequence[Sequence[Tensor]]


ADVERSARIAL_TERMS: Sequence[Term[Judgement]] = (
    Term("gan", lambda j: losses.hinge_generator([scale[-1] for scale in j.fake])),
    Term("fm", lambda j: losses.feature_matching(j.real, j.fake, j.x.paired)),
)

ALL_TERMS: tuple[Term[Any], ...] = (
    *CORRESPONDENCE_TERMS, *OUTPUT_TERMS, *FEATURE_TERMS, *ADVERSARIAL_TERMS
)  # fmt: skip
TERMS = tuple(term.name for term in ALL_TERMS)
"""Names of all terms."""


def class_shares(condition: Tensor, classes: int) -> Tensor:
    """Share of each class in each position's cell: (B, N, K). condition: (B, H, W) labels or (B, K, H, W) planes."""
    if condition.ndim == 4:
        return positions(F.avg_pool2d(condition, STRIDE))
    labels_BNP = positions(F.pixel_unshuffle(condition.long()[:, None], STRIDE))  # P = 16 pixels a cell
    shares_BNK = torch.zeros(*labels_BNP.shape[:2], classes, device=condition.device)
    return shares_BNK.scatter_add_(
        2, labels_BNP, torch.full_like(labels_BNP, 1 / STRIDE**2, dtype=torch.float)
    )


def known_shares(X_BNK: Tensor, Z_BNK: Tensor, unknown: int | None) -> Tensor:
    """The condition's class shares (B, N, K), without the unknown class and those that the exemplar lacks."""
    shared_BK = (Z_BNK.amax(1) > 0).to(X_BNK.dtype)
    if unknown is not None:
        shared_BK[:, unknown] = 0
    return X_BNK * shared_BK[:, None]
