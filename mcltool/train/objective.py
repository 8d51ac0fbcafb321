"""What the networks are trained for: from a batch to its loss terms (docs/method.md, sections 2 to 5).

A term is computed where its weight in LossConfig, which has the term's name, is not 0. A new one is two lines in the
objective that has what it is computed from, its name in the list below, its weight, and its equation in
mcltool/model/losses.py.

The terms of an image are computed apart from the network that made it: each objective's layers can then be left behind
before the next begins, and what they ask of the image goes back through the network once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.core.config import LossConfig
from mcltool.data.batch import Batch
from mcltool.model import losses
from mcltool.model.blocks import positions
from mcltool.model.correspondence import STRIDE, attention_warp
from mcltool.model.discriminator import Discriminator
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import ConditionSpec

CORRESPONDENCE_TERMS = ("warp", "mask", "mcl", "cons", "cyc", "pse")
OUTPUT_TERMS = ("rec", "tone")
FEATURE_TERMS = ("perc", "feat", "ctx")
ADVERSARIAL_TERMS = ("gan", "fm")
TERMS = (*CORRESPONDENCE_TERMS, *OUTPUT_TERMS, *FEATURE_TERMS, *ADVERSARIAL_TERMS)
"""Names of all terms."""

CONTEXTUAL_LAYERS = {"relu3_2": 2.0, "relu4_2": 4.0, "relu5_2": 8.0}
"""Layers of L_ctx and their weights (section 5)."""
FEATURE_LAYERS = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
"""Layers of the VGG feature loss and their weights: the deeper, the more (pix2pixHD, arXiv 1711.11585)."""

Terms = dict[str, Tensor]
"""Unweighted terms by name."""


def weighted(terms: Terms, weights: LossConfig) -> Tensor:
    """The sum of the terms, each times its weight. Raises AttributeError for a term without one."""
    return torch.stack([getattr(weights, name) * term.float() for name, term in terms.items()]).sum()


class GeneratorObjective(nn.Module):
    """Runs encoders, correspondence and generator on a batch, and computes the terms that need no other network."""

    def __init__(self, net: MCLNet, weights: LossConfig, spec: ConditionSpec) -> None:
        super().__init__()
        self.net, self.weights, self.spec = net, weights, spec

    def forward(self, x: Batch, step: int, generate: bool = True) -> tuple[Terms, Tensor]:
        """-> the terms and the generated image (B, 3, H, W).

        step: seeds the choice of positions where L_mcl is sampled. generate: False leaves the generator out;
        the warped exemplar comes back in the image's place, without a gradient.
        """
        X_BEHW = self.net.embed_condition(x.condition)
        terms, warped = self._match(x, X_BEHW, step)
        if not generate:
            return terms, warped.detach()
        image = self.net.generator(warped.detach() if self.weights.detach_warp else warped, X_BEHW)
        if self.weights.rec:
            terms["rec"] = losses.l1(image, x.target, x.paired)
        if self.weights.tone:
            terms["tone"] = losses.tone(image, warped.detach(), ~x.paired)
        return terms, image

    def _match(self, x: Batch, X_BEHW: Tensor, step: int) -> tuple[Terms, Tensor]:
        """The terms of the correspondence (sections 2 and 4), and the warped exemplar (B, 3, H, W).

        X_BEHW: the embedded condition.
        """
        net, w, size = self.net, self.weights, (X_BEHW.shape[2], X_BEHW.shape[3])
        photos = {"exemplar": x.exemplar}
        if w.mcl or w.cons:
            photos["target"] = x.target
        if w.pse:
            photos["augmented"] = x.augmented
        x_BChw = net.encode_condition(X_BEHW)
        stacked = torch.cat(list(photos.values())).contiguous(memory_format=torch.channels_last)
        z_BChw = net.encode_photo(stacked)
        u_BND = net.match_condition(x_BChw, X_BEHW)
        z = dict(zip(photos, z_BChw.chunk(len(photos)), strict=True))
        v = dict(zip(photos, net.match_photo(z_BChw).chunk(len(photos)), strict=True))

        values_BNV = net.values(x.exemplar)
        colours, with_mask = values_BNV.shape[2], w.mask and self.spec.kind == "labels"
        if with_mask:  # one attention warps colours and class shares together
            Z_BNK = class_shares(x.exemplar_condition, self.spec.channels)
            values_BNV = torch.cat([values_BNV, Z_BNK], 2)
        seen_BNV = attention_warp(u_BND, v["exemplar"], values_BNV, net.temperature)
        warped = net.from_values(seen_BNV[:, :, :colours], (size[0] // STRIDE, size[1] // STRIDE))

        terms: Terms = {}
        if w.warp:
            terms["warp"] = losses.l1(warped, x.target, x.paired)
        if with_mask:
            X_BNK = known_shares(class_shares(x.condition, self.spec.channels), Z_BNK, self.spec.unknown)
            terms["mask"] = losses.warped_mask(seen_BNV[:, :, colours:], X_BNK, w.mask_balance)
        if w.mcl:
            terms["mcl"] = contrast(u_BND, v["target"], w, step)
        if w.cons:
            terms["cons"] = losses.feature_consistency(x_BChw, z["target"])
        if w.cyc:
            back_BNV = attention_warp(v["exemplar"], u_BND, net.values(warped), net.temperature)
            terms["cyc"] = losses.l1(back_BNV, net.values(x.exemplar))
        if w.pse:
            terms["pse"] = losses.l1(net.warp(u_BND, v["augmented"], x.augmented, size), x.target)
        return terms, warped


def contrast(u_BND: Tensor, y_BND: Tensor, w: LossConfig, step: int) -> Tensor:
    """L_mcl of the features of condition and target, at positions that ``step`` chooses where they are sampled."""
    if w.mcl_detach_photo:
        y_BND = y_BND.detach()
    if 0 < w.mcl_positions < u_BND.shape[1]:
        draw = torch.Generator().manual_seed(step)
        chosen = losses.sampled_positions(u_BND.shape[1], w.mcl_positions, draw, u_BND.device)
        u_BND, y_BND = u_BND[:, chosen], y_BND[:, chosen]
    return losses.marginal_contrastive(u_BND, y_BND, w.mcl_margin, w.mcl_scale, w.mcl_symmetric)


class FeatureObjective(nn.Module):
    """The terms that compare an image's VGG-19 features (section 5)."""

    def __init__(self, phi: VGGFeatures, weights: LossConfig) -> None:
        super().__init__()
        self.phi, self.weights = phi, weights

    def forward(self, x: Batch, image: Tensor) -> Terms:
        """image: (B, 3, H, W), the generated one."""
        w = self.weights
        of_target = ({w.perc_layer} if w.perc else set()) | (set(FEATURE_LAYERS) if w.feat else set())
        of_exemplar = set(CONTEXTUAL_LAYERS) if w.ctx else set()
        out = self._layers(image, of_target | of_exemplar)
        with torch.no_grad():
            target, exemplar = self._layers(x.target, of_target), self._layers(x.exemplar, of_exemplar)
        terms: Terms = {}
        if w.perc:
            terms["perc"] = losses.perceptual(out[w.perc_layer], target[w.perc_layer])
        if w.feat:
            each = [k * losses.l1(out[name], target[name], x.paired) for name, k in FEATURE_LAYERS.items()]
            terms["feat"] = torch.stack(each).sum()
        if w.ctx:
            each = [k * losses.contextual(out[name], exemplar[name]) for name, k in CONTEXTUAL_LAYERS.items()]
            terms["ctx"] = torch.stack(each).sum()
        return terms

    def _layers(self, image: Tensor, names: set[str]) -> dict[str, Tensor]:
        """Features of ``image`` by layer."""
        ordered = sorted(names)
        return dict(zip(ordered, self.phi(image, ordered), strict=True)) if names else {}


class AdversarialObjective(nn.Module):
    """The adversarial terms of generator and discriminator, from one pass over target and image (section 5)."""

    def __init__(self, discriminator: Discriminator, weights: LossConfig) -> None:
        super().__init__()
        self.discriminator, self.weights = discriminator, weights

    def forward(self, x: Batch, image: Tensor, step: int = 0) -> tuple[Terms, Tensor]:
        """-> the generator's terms and the discriminator's hinge loss. image: (B, 3, H, W), the generated one.

        step: seeds the augmentation, where there is one.

        All share the graph: take the terms' gradient with respect to the image alone, and the loss's with
        respect to the discriminator's parameters alone.
        """
        w = self.weights
        real, fake = judge(self.discriminator, x.condition, x.target, image, step if w.augment else None)
        terms: Terms = {}
        if w.gan:
            terms["gan"] = losses.hinge_generator([scale[-1] for scale in fake])
        if w.fm:
            terms["fm"] = losses.feature_matching(real, fake, x.paired)
        return terms, losses.hinge_discriminator([s[-1] for s in real], [s[-1] for s in fake])


def judge(
    discriminator: Discriminator, X: Tensor, real: Tensor, fake: Tensor, seed: int | None = None
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The discriminator's layers on real and generated images, a list a scale with the scores last.

    One pass over both; seed: of their augmentation.
    """
    both = discriminator(torch.cat([X, X]), torch.cat([real, fake.to(real.dtype)]), seed)
    halves = [[layer.chunk(2) for layer in scale] for scale in both]
    return [[h[0] for h in scale] for scale in halves], [[h[1] for h in scale] for scale in halves]


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
