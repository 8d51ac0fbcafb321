"""From a batch to its loss terms: what the networks make of it, and what is computed from that.

The terms of an image are computed apart from the network that made it: each objective's layers can then be left behind
before the next begins, and what they ask of the image goes back through the network once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mcltool.core.config import LossConfig
from mcltool.data.batch import Batch
from mcltool.model import losses
from mcltool.model.correspondence import STRIDE, attention_warp
from mcltool.model.discriminator import Discriminator
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import ConditionSpec
from mcltool.train.terms import (
    ADVERSARIAL_TERMS,
    CORRESPONDENCE_TERMS,
    FEATURE_TERMS,
    OUTPUT_TERMS,
    Features,
    Judgement,
    Matching,
    Output,
    Terms,
    active,
    class_shares,
    needs,
)


class GeneratorObjective(nn.Module):
    """What encoders, correspondence and generator make of a batch, and the terms that need no other network."""

    def __init__(self, net: MCLNet, weights: LossConfig, spec: ConditionSpec) -> None:
        super().__init__()
        self.net, self.weights, self.spec = net, weights, spec
        terms = active(CORRESPONDENCE_TERMS, weights)
        self.terms = [term for term in terms if spec.kind == "labels" or "labels" not in term.needs]
        self.output_terms = active(OUTPUT_TERMS, weights)

    def forward(self, x: Batch, step: int, generate: bool = True) -> tuple[Terms, Tensor]:
        """-> the terms and the generated image (B, 3, H, W).

        step: seeds the choice of positions where L_mcl is sampled. generate: False leaves the generator out;
        the warped exemplar comes back in the image's place, without a gradient.
        """
        X_BEHW = self.net.embed_condition(x.condition)
        matching = self._match(x, X_BEHW, step)
        terms = {term.name: term.compute(matching) for term in self.terms}
        if not generate:
            return terms, matching.warped.detach()
        warped = matching.warped.detach() if self.weights.detach_warp else matching.warped
        image = self.net.generator(warped, X_BEHW)
        output = Output(x, image, matching.warped)
        return terms | {term.name: term.compute(output) for term in self.output_terms}, image

    def _match(self, x: Batch, X_BEHW: Tensor, step: int) -> Matching:
        """X_BEHW: the embedded condition."""
        net, size, needed = self.net, (X_BEHW.shape[2], X_BEHW.shape[3]), needs(self.terms)
        photos = {"exemplar": x.exemplar, "target": x.target, "augmented": x.augmented}
        photos = {name: photo for name, photo in photos.items() if name == "exemplar" or name in needed}
        x_BChw = net.encode_condition(X_BEHW)
        stacked = torch.cat(list(photos.values())).contiguous(memory_format=torch.channels_last)
        z_BChw = net.encode_photo(stacked)
        u_BND = net.match_condition(x_BChw, X_BEHW)
        z = dict(zip(photos, z_BChw.chunk(len(photos)), strict=True))
        v = dict(zip(photos, net.match_photo(z_BChw).chunk(len(photos)), strict=True))

        values, shares = net.values(x.exemplar), None
        colours = values.shape[2]
        if "labels" in needed:
            shares = class_shares(x.exemplar_condition, self.spec.channels)
            values = torch.cat([values, shares], 2)
        warped_values = attention_warp(u_BND, v["exemplar"], values, net.temperature)
        warped = net.from_values(warped_values[:, :, :colours], (size[0] // STRIDE, size[1] // STRIDE))
        warped_shares = None if shares is None else warped_values[:, :, colours:]
        return Matching(
            net, self.weights, self.spec, x, step, x_BChw, z, u_BND, v, warped, shares, warped_shares
        )


class FeatureObjective(nn.Module):
    """The terms of an image that VGG-19's features are compared for (section 5)."""

    def __init__(self, phi: VGGFeatures, weights: LossConfig) -> None:
        super().__init__()
        self.phi, self.weights, self.terms = phi, weights, active(FEATURE_TERMS, weights)

    def forward(self, x: Batch, image: Tensor) -> Terms:
        """image: (B, 3, H, W), the generated one."""
        out = self._layers(image, "target", "exemplar")
        with torch.no_grad():
            target, exemplar = self._layers(x.target, "target"), self._layers(x.exemplar, "exemplar")
        features = Features(self.weights, x, out, target, exemplar)
        return {term.name: term.compute(features) for term in self.terms}

    def _layers(self, image: Tensor, *needs: str) -> dict[str, Tensor]:
        """Features of ``image`` of the layers that terms with one of ``needs`` compare."""
        wanted = [term.layers(self.weights) for term in self.terms if set(needs) & set(term.needs)]
        names = sorted({name for layers in wanted for name in layers})
        return dict(zip(names, self.phi(image, names), strict=True)) if names else {}


class AdversarialObjective(nn.Module):
    """What discriminator and generator want of each other, from one pass over target and image (section 5)."""

    def __init__(self, discriminator: Discriminator, weights: LossConfig) -> None:
        super().__init__()
        self.discriminator, self.terms = discriminator, active(ADVERSARIAL_TERMS, weights)
        self.augment = weights.augment

    def forward(self, x: Batch, image: Tensor, step: int = 0) -> tuple[Terms, Tensor]:
        """-> the generator's terms and the discriminator's hinge loss. image: (B, 3, H, W), the generated one.

        step: seeds the augmentation, where there is one.

        All share the graph: take the terms' gradient with respect to the image alone, and the loss's with
        respect to the discriminator's parameters alone.
        """
        real, fake = judge(self.discriminator, x.condition, x.target, image, step if self.augment else None)
        judgement = Judgement(x, real, fake)
        terms = {term.name: term.compute(judgement) for term in self.terms}
        return terms, losses.hinge_discriminator([s[-1] for s in real], [s[-1] for s in fake])


def judge(
    discriminator: Discriminator, X: Tensor, real: Tensor, fake: Tensor, seed: int | None = None
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """The discriminator's layers on real and generated images, in one pass over both; seed: of their augmentation."""
    both = discriminator(torch.cat([X, X]), torch.cat([real, fake.to(real.dtype)]), seed)
    halves = [[layer.chunk(2) for layer in scale] for scale in both]
    return [[h[0] for h in scale] for scale in halves], [[h[1] for h in scale] for scale in halves]
