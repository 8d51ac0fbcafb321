"""What the networks are trained for: the terms of METHOD sections 2, 4 and 5 for one batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool import losses
from mcltool.config import LossConfig
from mcltool.data.batches import Batch, condition_planes, to_unit
from mcltool.data.contract import ConditionSpec
from mcltool.model.correspondence import attention_warp, from_patches, patches
from mcltool.model.discriminator import Discriminator
from mcltool.model.encoder import STRIDE
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures

CONTEXTUAL_LAYERS = {"relu3_2": 2.0, "relu4_2": 4.0, "relu5_2": 8.0}
"""Layers of L_ctx and their weights (METHOD section 5)."""
FEATURE_LAYERS = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
"""Layers of the VGG feature loss and their weights: the deeper, the more (pix2pixHD, arXiv 1711.11585)."""

Terms = dict[str, Tensor]
"""Unweighted terms by the name of their weight in LossConfig."""


class Inputs(NamedTuple):
    """A batch as the networks see it.

    X: (B, K, H, W) condition. Y, Z, P: (B, 3, H, W) photo, exemplar and augmented photo in [-1, 1].
    Z_labels: (B, K, H, W) the exemplar's own condition. paired: (B,) whether Y is the answer for (X, Z).
    """

    X: Tensor
    Y: Tensor
    Z: Tensor
    P: Tensor
    Z_labels: Tensor
    paired: Tensor

    @classmethod
    def of(cls, batch: Batch, spec: ConditionSpec) -> Inputs:
        planes = (condition_planes(c, spec) for c in (batch.condition, batch.exemplar_condition))
        X, Z_labels = (p.contiguous(memory_format=torch.channels_last) for p in planes)
        Y, Z, P = (to_unit(p) for p in (batch.photo, batch.exemplar, batch.pseudo))
        return cls(X, Y, Z, P, Z_labels, batch.paired)


class GeneratorObjective(nn.Module):
    """The terms that encoders, correspondence and generator are trained for."""

    def __init__(
        self, net: MCLNet, weights: LossConfig, spec: ConditionSpec, phi: VGGFeatures | None
    ) -> None:
        super().__init__()
        self.net, self.weights, self.spec, self.phi = net, weights, spec, phi

    def forward(
        self, x: Inputs, step: int, generate: bool = True, discriminator: Discriminator | None = None
    ) -> tuple[Terms, Tensor]:
        """-> the terms and the generated image (B, 3, H, W), which carries no gradient.

        step: seeds the choice of positions where L_mcl is sampled. generate: False leaves the generator out;
        the warped exemplar comes back in the image's place. Without discriminator its two terms are left out.
        """
        terms, warped = self.correspondence_terms(x, step)
        if not generate:
            return terms, warped.detach()
        image = self.net.generator(warped, x.X)
        w = self.weights
        if w.rec:
            terms["rec"] = losses.l1(image, x.Y, x.paired)
        if discriminator is not None and (w.gan or w.fm):
            terms.update(self._adversarial_terms(x, image, discriminator))
        if self.phi is not None and (w.perc or w.feat or w.ctx):
            terms.update(self._feature_terms(x, image, self.phi))
        return terms, image.detach()

    def correspondence_terms(self, x: Inputs, step: int) -> tuple[Terms, Tensor]:
        """Terms of sections 2 and 4, and the warped exemplar (B, 3, H, W)."""
        net, w, terms = self.net, self.weights, Terms()
        grid = (x.X.shape[2] // STRIDE, x.X.shape[3] // STRIDE)
        photos = {"Z": x.Z}
        if w.mcl or w.cons:
            photos["Y"] = x.Y
        if w.pse:
            photos["P"] = x.P
        x_BChw = net.encode_condition(x.X)
        stacked = torch.cat(list(photos.values())).contiguous(memory_format=torch.channels_last)
        z_BChw = net.encode_photo(stacked)
        u = net.correspondence(x_BChw)
        z = dict(zip(photos, z_BChw.chunk(len(photos)), strict=True))
        v = dict(zip(photos, net.correspondence(z_BChw).chunk(len(photos)), strict=True))

        masks = bool(w.mask) and self.spec.kind == "labels"
        values = torch.cat([patches(x.Z), class_shares(x.Z_labels)], 2) if masks else patches(x.Z)
        warped_values = attention_warp(u, v["Z"], values, net.temperature)
        warped = from_patches(warped_values[:, :, : 3 * STRIDE**2], grid)

        if w.warp:
            terms["warp"] = losses.l1(warped, x.Y, x.paired)
        if masks:
            terms["mask"] = losses.warped_mask(
                warped_values[:, :, 3 * STRIDE**2 :], known_shares(x.X, x.Z_labels, self.spec.unknown)
            )
        if w.mcl:
            terms["mcl"] = self._contrast(u, v["Y"], step)
        if w.cons:
            terms["cons"] = losses.feature_consistency(x_BChw, z["Y"])
        if w.cyc:
            back = attention_warp(v["Z"], u, patches(warped), net.temperature)
            terms["cyc"] = losses.l1(back, patches(x.Z))
        if w.pse:
            terms["pse"] = losses.l1(net.warp(u, v["P"], x.P, (x.X.shape[2], x.X.shape[3])), x.Y)
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

    def _adversarial_terms(self, x: Inputs, image: Tensor, discriminator: Discriminator) -> Terms:
        real, fake = judge(discriminator, x.X, x.Y, image)
        terms = Terms()
        if self.weights.gan:
            terms["gan"] = losses.hinge_generator([scale[-1] for scale in fake])
        if self.weights.fm:
            terms["fm"] = losses.feature_matching(real, fake, x.paired)
        return terms

    def _feature_terms(self, x: Inputs, image: Tensor, phi: VGGFeatures) -> Terms:
        w, terms = self.weights, Terms()
        of_truth = {*([w.perc_layer] if w.perc else []), *(FEATURE_LAYERS if w.feat else [])}
        of_exemplar = set(CONTEXTUAL_LAYERS if w.ctx else [])
        out = _layers(phi, image, of_truth | of_exemplar)
        with torch.no_grad():
            truth, exemplar = _layers(phi, x.Y, of_truth), _layers(phi, x.Z, of_exemplar)
        if w.perc:
            terms["perc"] = losses.perceptual(out[w.perc_layer], truth[w.perc_layer])
        if w.feat:
            feat = [k * losses.l1(out[name], truth[name], x.paired) for name, k in FEATURE_LAYERS.items()]
            terms["feat"] = torch.stack(feat).sum()
        if w.ctx:
            ctx = [k * losses.contextual(out[name], exemplar[name]) for name, k in CONTEXTUAL_LAYERS.items()]
            terms["ctx"] = torch.stack(ctx).sum()
        return terms


def _layers(phi: VGGFeatures, image: Tensor, names: set[str]) -> dict[str, Tensor]:
    """The features of ``image`` by layer; nothing is computed where none is asked for."""
    ordered = sorted(names)
    return dict(zip(ordered, phi(image, ordered), strict=True)) if ordered else {}


class DiscriminatorObjective(nn.Module):
    """Hinge loss of the discriminator on the photo and a generated image (section 5)."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: Inputs, image: Tensor) -> Tensor:
        """image: (B, 3, H, W), as GeneratorObjective gives it."""
        real, fake = judge(self.discriminator, x.X, x.Y, image)
        return losses.hinge_discriminator([s[-1] for s in real], [s[-1] for s in fake])


def judge(
    discriminator: Discriminator, X: Tensor, real: Tensor, fake: Tensor
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The discriminator's layers on real and generated images, in one pass over both."""
    both = discriminator(torch.cat([X, X]), torch.cat([real, fake.to(real.dtype)]))
    halves = [[layer.chunk(2) for layer in scale] for scale in both]
    return [[h[0] for h in scale] for scale in halves], [[h[1] for h in scale] for scale in halves]


def class_shares(labels_BKHW: Tensor) -> Tensor:
    """Share of each class in each position's cell: (B, N, K)."""
    return F.avg_pool2d(labels_BKHW, STRIDE).flatten(2).transpose(1, 2)


def known_shares(X: Tensor, Z_labels: Tensor, unknown: int | None) -> Tensor:
    """The condition's class shares (B, N, K), without the unknown class and those that the exemplar lacks."""
    shared_BK = (Z_labels.amax((2, 3)) > 0).to(X.dtype)
    if unknown is not None:
        shared_BK[:, unknown] = 0
    return class_shares(X) * shared_BK[:, None]
