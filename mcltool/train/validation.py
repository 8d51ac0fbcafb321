"""Scores on held-out samples while training: of the warped exemplar, and of the picture that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.device import Precision, autocast
from mcltool.core.pictures import Picture, contact_sheet
from mcltool.data.batch import Batch, collate, condition_picture, to_bytes, to_unit
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.evaluate.pairs import Pair, held_out_pairs, score_correspondence
from mcltool.evaluate.picture import measure
from mcltool.evaluate.picture import score as picture_score
from mcltool.model.losses import l1
from mcltool.model.network import MCLNet
from mcltool.model.vgg import LAYERS, PUBLISHED_SCALES, VGGFeatures
from mcltool.plugin.contract import ConditionSpec, DatasetPlugin

Scores = dict[str, float]
COLUMNS = ("condition", "exemplar", "warped", "result", "photo")


class FixedPairs:
    """The first ``count`` held-out pairs (one a group where there are groups), loaded once."""

    def __init__(self, data: EvaluationData, count: int) -> None:
        seen: dict[str, int] = {}
        for index, sample in enumerate(data.samples):
            seen.setdefault(sample.group or sample.id, index)
            if len(seen) == count:
                break
        self.spec = data.plugin.spec
        self.batch = collate([data[index] for index in seen.values()])

    def picture(self, net: MCLNet, device: torch.device, precision: Precision) -> Picture:
        """Condition, exemplar, warped exemplar, result and photo of each pair."""
        batch = self.batch.to(device)
        with torch.inference_mode(), autocast(device, precision):
            made = net(batch.condition, to_unit(batch.exemplar))
        columns = [batch.exemplar, to_bytes(made.warped), to_bytes(made.image), batch.target]
        pictures = [c.permute(0, 2, 3, 1).cpu().numpy() for c in columns]
        conditions = self.batch.condition
        if self.spec.kind == "channels":
            conditions = conditions.permute(0, 2, 3, 1)
        first = [condition_picture(np.asarray(c), self.spec) for c in conditions]
        return contact_sheet(list(zip(first, *pictures, strict=True)), COLUMNS)


TRUTH_PAIRS = 24
"""Pairs whose correspondence is scored where the plugin knows the truth."""
PICTURES = 32
"""Held-out samples whose outputs are judged as pictures."""
LEAST_VARIETY = 0.2
"""Share of the photos' own variety below which outputs are taken not to depend on what is changed."""


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out samples, the same at every call, each with an exemplar that makes its photo the right answer.

    That is another view of the photo's group, or where there is none the photo itself, augmented. As pictures the
    outputs are judged with other exemplars: the photo of the sample half the list away.
    """

    spec: ConditionSpec
    batches: Sequence[Batch]
    plugin: DatasetPlugin
    pairs: Sequence[Pair]
    side: int

    @classmethod
    def of(cls, data: TrainingData, count: int, batch_size: int) -> Validation:
        """The first ``count`` samples of ``data``, which is over the held-out split."""
        numbers, side = range(min(count, len(data))), min(data.config.size)
        parts = [numbers[at : at + batch_size] for at in range(0, len(numbers), batch_size)]
        pairs = held_out_pairs(data.plugin, data.samples, TRUTH_PAIRS, side) if parts else []
        return cls(
            data.plugin.spec, [collate([data[n] for n in part]) for part in parts], data.plugin, pairs, side
        )

    def scores(
        self,
        net: MCLNet,
        device: torch.device,
        precision: Precision,
        phi: VGGFeatures | None = None,
        pictures: bool = True,
    ) -> Scores:
        """val_l1_warp, val_l1: |a - photo|_1 in [0, 2] of the warped exemplar and of the output, where the photo is the
        right answer; val_class_match and val_match_error where the truth is known; ``picture_scores``.

        pictures: False, while there is no generator yet, leaves out what is said of the output. phi: adds
        val_perceptual, the output's distance to the photo, and val_statistics, its distance to another exemplar in the
        means of the features; both are mean L1 distances over the layers.
        """
        if not self.batches:
            return {}
        answers = [
            self._answer_scores(batch.to(device), net, device, precision, phi, pictures)
            for batch in self.batches
        ]
        sizes = [len(batch) for batch in self.batches]
        scores = {
            n: sum(k * a[n] for k, a in zip(sizes, answers, strict=True)) / sum(sizes) for n in answers[0]
        }
        if pictures:
            scores |= self.picture_scores(net, device, precision, phi)
        matches = [score_correspondence(net, self.plugin, pair, self.side) for pair in self.pairs]
        if matches:
            scores["val_class_match"] = fmean(match.class_match for match in matches)
            scores["val_match_error"] = fmean(match.match_error for match in matches)
        return scores

    def picture_scores(
        self, net: MCLNet, device: torch.device, precision: Precision, phi: VGGFeatures | None = None
    ) -> Scores:
        """What ``evaluate.picture`` measures of the outputs with other exemplars, as val_NAME, and their val_score."""
        conditions, photos = (
            torch.cat([getattr(batch, name) for batch in self.batches])[:PICTURES]
            for name in ("condition", "target")
        )
        if len(photos) < 2:
            return {}
        other = torch.arange(len(photos)).roll(len(photos) // 2)
        parts = torch.split(torch.arange(len(photos)), len(self.batches[0]))
        made, statistics = [], []
        with torch.inference_mode(), autocast(device, precision):
            for part in parts:
                Z = to_unit(photos[other[part]].to(device))
                image = net(conditions[part].to(device), Z).image
                made.append(to_bytes(image).cpu())
                if phi is not None:
                    statistics += [len(part) * feature_distance(phi, image, Z, of_means=True)]
        labels = conditions.numpy().astype(np.int64) if self.spec.kind == "labels" else None
        outputs, targets, exemplars = (pixels(p) for p in (torch.cat(made), photos, photos[other]))
        found = measure(
            outputs, targets, exemplars, labels, None if labels is None else labels[other.numpy()]
        )
        scores = {f"val_{name}": value for name, value in found.items()}
        if statistics:
            scores["val_statistics"] = sum(statistics) / len(photos)
        return scores | {"val_score": picture_score(found)}

    def doubts(self) -> list[str]:
        """A line for each thing about the held-out samples that nothing can be learned from."""
        found = []
        if sum(len(batch) for batch in self.batches) > 1:
            conditions, photos = (
                torch.cat([getattr(batch, name) for batch in self.batches])
                for name in ("condition", "target")
            )
            if self.spec.kind == "labels" and conditions.amin() == conditions.amax():
                name = self.spec.names[int(conditions.amin())]
                found.append(
                    f"the held-out conditions have one class only ({name}): check the masks with mcltool data preview"
                )
            if (photos == photos[:1]).all():
                found.append("the held-out photos are all alike: check the data with mcltool data preview")
        return found

    def independence(self, net: MCLNet, device: torch.device, precision: Precision) -> str | None:
        """ "condition" or "exemplar" where outputs hardly change with it, the other being the same; else None.

        Judged on the first batch, next to how much its photos differ.
        """
        if not self.batches or len(self.batches[0]) < 2:
            return None
        batch = self.batches[0].to(device)
        X, Y = batch.condition, to_unit(batch.target)
        turned = torch.arange(len(X)).roll(1)
        with torch.inference_mode(), autocast(device, precision):
            first, other_condition, other_exemplar = (
                net(X_here, Z).image for X_here, Z in ((X, Y), (X[turned], Y), (X, Y[turned]))
            )
        least = LEAST_VARIETY * float(l1(Y, Y[turned]))
        changes = {"condition": other_condition, "exemplar": other_exemplar}
        return next((name for name, image in changes.items() if float(l1(first, image)) < least), None)

    def _answer_scores(
        self,
        batch: Batch,
        net: MCLNet,
        device: torch.device,
        precision: Precision,
        phi: VGGFeatures | None,
        pictures: bool,
    ) -> Scores:
        photo = to_unit(batch.target)
        with torch.inference_mode(), autocast(device, precision):
            made = net(batch.condition, to_unit(batch.exemplar))
            scores = {"val_l1_warp": float(l1(made.warped, photo))}
            if pictures:
                scores["val_l1"] = float(l1(made.image, photo))
            if pictures and phi is not None:
                scores["val_perceptual"] = feature_distance(phi, made.image, photo)
        return scores


def feature_distance(phi: VGGFeatures, a_B3HW: Tensor, b_B3HW: Tensor, of_means: bool = False) -> float:
    """Mean over layers of |phi(a) - phi(b)|_1, in units of each layer's scale; of_means: of the features' means over
    positions alone."""
    layers = [phi(image, tuple(LAYERS)) for image in (a_B3HW, b_B3HW)]
    if of_means:
        layers = [[layer.float().mean((2, 3)) for layer in each] for each in layers]
    scales = (PUBLISHED_SCALES[name] for name in LAYERS)
    return fmean(float(l1(a, b)) / scale for a, b, scale in zip(*layers, scales, strict=True))


def pixels(bytes_B3HW: Tensor) -> NDArray[np.float32]:
    """(B, H, W, 3) in [0, 1]."""
    return bytes_B3HW.permute(0, 2, 3, 1).numpy().astype(np.float32) / np.float32(255)
