"""What the networks are trained for: the terms of METHOD sections 2, 4 and 5 for one batch.

The terms of an image are computed apart from the network that made it: each objective's layers can then be left behind
before the next begins, and what they ask of the image goes back through the network once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.core.config import LossConfig
from mcltool.data.batch import Batch, to_unit
from mcltool.model import losses
from mcltool.model.blocks import positions
from mcltool.model.correspondence import attention_warp, from_patches, patches
from mcltool.model.discriminator import Discriminator
from mcltool.model.encoder import STRIDE
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import ConditionSpec

CONTEXTUAL_LAYERS = {"relu3_2": 2.0, "relu4_2": 4.0, "relu5_2": 8.0}
"""Layers of L_ctx and their weights (METHOD section 5)."""
FEATURE_LAYERS = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
"""Layers of the VGG feature loss and their weights: the deeper, the more (pix2pixHD, arXiv 1711.11585)."""

Terms = dict[str, Tensor]
"""Unweighted terms by the name of their weight in LossConfig."""


class Inputs(NamedTuple):
    """A batch as the networks see it.

    X: the condition, (B, H, W) labels or (B, K, H, W) planes. Z_labels: likewise the exemplar's own.
    Y, Z, P: (B, 3, H, W) photo, exemplar and augmented photo in [-1, 1]. paired: (B,) whether Y is the answer
    for (X, Z).
    """

    X: Tensor
    Y: Tensor
    Z: Tensor
    P: Tensor
    Z_labels: Tensor
    paired: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Inputs:
        Y, Z, P = (to_unit(p) for p in (batch.photo, batch.exemplar, batch.pseudo))
        return cls(batch.condition, Y, Z, P, batch.exemplar_condition, batch.paired)


class GeneratorObjective(nn.Module):
    """What encoders, correspondence and generator make of a batch, and the terms that need no other network."""

    def __init__(self, net: MCLNet, weights: LossConfig, spec: ConditionSpec) -> None:
        super().__init__()
        self.net, self.weights, self.spec = net, weights, spec

    def forward(self, x: Inputs, step: int, generate: bool = True) -> tuple[Terms, Tensor]:
        """-> the terms and the generated image (B, 3, H, W).

        step: seeds the choice of positions where L_mcl is sampled. generate: False leaves the generator out;
        the warped exemplar comes back in the image's place, without a gradient.
        """
        X_BEHW = self.net.embed_condition(x.X)
        terms, warped = self._correspondence_terms(x, X_BEHW, step)
        if not generate:
            return terms, warped.detach()
        image = self.net.generator(warped, X_BEHW)
        if self.weights.rec:
            terms["rec"] = losses.l1(image, x.Y, x.paired)
        return terms, image

    def _correspondence_terms(self, x: Inputs, X_BEHW: Tensor, step: int) -> tuple[Terms, Tensor]:
        """Terms of sections 2 and 4, and the warped exemplar (B, 3, H, W). X_BEHW: the embedded condition."""
        net, w, terms = self.net, self.weights, Terms()
        size = (X_BEHW.shape[2], X_BEHW.shape[3])
        photos = {"Z": x.Z}
        if w.mcl or w.cons:
            photos["Y"] = x.Y
        if w.pse:
            photos["P"] = x.P
        x_BChw = net.encode_condition(X_BEHW)
        stacked = torch.cat(list(photos.values())).contiguous(memory_format=torch.channels_last)
        z_BChw = net.encode_photo(stacked)
        u = net.correspondence(x_BChw)
        z = dict(zip(photos, z_BChw.chunk(len(photos)), strict=True))
        v = dict(zip(photos, net.correspondence(z_BChw).chunk(len(photos)), strict=True))

        masks = bool(w.mask) and self.spec.kind == "labels"
        values = patches(x.Z)
        if masks:
            shares = class_shares(x.Z_labels, self.spec.channels)
            values = torch.cat([values, shares], 2)
        warped_values = attention_warp(u, v["Z"], values, net.temperature)
        warped = from_patches(warped_values[:, :, : 3 * STRIDE**2], (size[0] // STRIDE, size[1] // STRIDE))

        if w.warp:
            terms["warp"] = losses.l1(warped, x.Y, x.paired)
        if masks:
            wanted = known_shares(class_shares(x.X, self.spec.channels), shares, self.spec.unknown)
            terms["mask"] = losses.warped_mask(warped_values[:, :, 3 * STRIDE**2 :], wanted)
        if w.mcl:
            terms["mcl"] = self._contrast(u, v["Y"], step)
        if w.cons:
            terms["cons"] = losses.feature_consistency(x_BChw, z["Y"])
        if w.cyc:
            back = attention_warp(v["Z"], u, patches(warped), net.temperature)
            terms["cyc"] = losses.l1(back, patches(x.Z))
        if w.pse:
            terms["pse"] = losses.l1(net.warp(u, v["P"], x.P, size), x.Y)
        return terms, warped

    def _contrast(self, u: Tensor, y: Tensor, step: int) -> Tensor:
        w = self.weights
        if w.mcl_detach_photo:
            y = y.detach()
        if 0 < w.mcl_positions < u.shape[1]:
            draw = torch.Generator().manual_seed(step)
            chosen = losses.sampled_positions(u.shape[1], w.mcl_positions, draw, u.device)
            u, y = u[:, chosen], y[:, chosen]
        return losses.marginal_contrastive(u, y, w.mcl_margin, w.mcl_scale, w.mcl_symmetric)


class FeatureObjective(nn.Module):
    """The terms of an image that VGG-19's features are compared for (section 5)."""

    def __init__(self, phi: VGGFeatures, weights: LossConfig) -> None:
        super().__init__()
        self.phi, self.weights = phi, weights

    def forward(self, x: Inputs, image: Tensor) -> Terms:
        """image: (B, 3, H, W), the generated one."""
        w, terms = self.weights, Terms()
        of_truth = {*([w.perc_layer] if w.perc else []), *(FEATURE_LAYERS if w.feat else [])}
        of_exemplar = set(CONTEXTUAL_LAYERS if w.ctx else [])
        out = self._layers(image, of_truth | of_exemplar)
        with torch.no_grad():
            truth, exemplar = self._layers(x.Y, of_truth), self._layers(x.Z, of_exemplar)
        if w.perc:
            terms["perc"] = losses.perceptual(out[w.perc_layer], truth[w.perc_layer])
        if w.feat:
            feat = [k * losses.l1(out[name], truth[name], x.paired) for name, k in FEATURE_LAYERS.items()]
            terms["feat"] = torch.stack(feat).sum()
        if w.ctx:
            ctx = [k * losses.contextual(out[name], exemplar[name]) for name, k in CONTEXTUAL_LAYERS.items()]
            terms["ctx"] = torch.stack(ctx).sum()
        return terms

    def _layers(self, image: Tensor, names: set[str]) -> dict[str, Tensor]:
        """The features of ``image`` by layer; nothing is computed where none is asked for."""
        ordered = sorted(names)
        return dict(zip(ordered, self.phi(image, ordered), strict=True)) if ordered else {}


class AdversarialObjective(nn.Module):
    """What discriminator and generator want of each other, from one pass over photo and generated image (section 5)."""

    def __init__(self, discriminator: Discriminator, weights: LossConfig) -> None:
        super().__init__()
        self.discriminator, self.weights = discriminator, weights

    def forward(self, x: Inputs, image: Tensor) -> tuple[Terms, Tensor]:
        """-> the generator's terms and the discriminator's hinge loss. image: (B, 3, H, W), the generated one.

        All share the graph: take the terms' gradient with respect to the image alone, and the loss's with
        respect to the discriminator's parameters alone.
        """
        real, fake = judge(self.discriminator, x.X, x.Y, image)
        terms = Terms()
        if self.weights.gan:
            terms["gan"] = losses.hinge_generator([scale[-1] for scale in fake])
        if self.weights.fm:
            terms["fm"] = losses.feature_matching(real, fake, x.paired)
        return terms, losses.hinge_discriminator([s[-1] for s in real], [s[-1] for s in fake])


def judge(
    discriminator: Discriminator, X: Tensor, real: Tensor, fake: Tensor
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The discriminator's layers on real and generated images, in one pass over both."""
    both = discriminator(torch.cat([X, X]), torch.cat([real, fake.to(real.dtype)]))
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
