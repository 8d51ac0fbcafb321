"""Scores on held-out samples while training: of the warped exemplar, and of the picture that is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from mcltool.core.device import Precision, autocast
from mcltool.core.pictures import Picture, contact_sheet
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.data.batch import Batch, HostBatch, condition_picture
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.evaluate.pairs import held_out_pairs, score_correspondence
from mcltool.evaluate.picture import measure
from mcltool.evaluate.picture import score as picture_score
from mcltool.model.losses import l1
from mcltool.model.network import MCLNet
from mcltool.model.vgg import LAYERS, PUBLISHED_SCALES, VGGFeatures

Scores = dict[str, float]
COLUMNS = ("condition", "exemplar", "warped", "result", "photo")


@dataclass(frozen=True, eq=False)
class Judged:
    """The network to judge, in its present state, on its device.

    phi: the network of the perceptual losses, where there is one.
    """

    net: MCLNet
    device: torch.device
    precision: Precision
    phi: VGGFeatures | None = None

    @contextmanager
    def inference(self) -> Iterator[None]:
        with torch.inference_mode(), autocast(self.device, self.precision):
            yield


class FixedPairs:
    """The first ``count`` held-out pairs (one a group where there are groups), loaded once."""

    def __init__(self, data: EvaluationData, count: int) -> None:
        seen: dict[str, int] = {}
        for index, sample in enumerate(data.samples):
            seen.setdefault(sample.group or sample.id, index)
            if len(seen) == count:
                break
        self.data, self.batch = data, HostBatch.of(map(data.item, seen.values()), len(seen))

    def picture(self, judged: Judged) -> Picture:
        """Condition, exemplar, warped exemplar, result and photo of each pair."""
        batch, spec = self.data.arrive(self.batch.to(judged.device)), self.data.plugin.spec
        with judged.inference():
            made = judged.net(batch.condition, batch.exemplar)
        columns = [to_bytes(photo) for photo in (batch.exemplar, made.warped, made.image, batch.target)]
        pictures = [column.permute(0, 2, 3, 1).cpu().numpy() for column in columns]
        conditions = batch.condition if spec.kind == "labels" else batch.condition.permute(0, 2, 3, 1)
        first = [condition_picture(condition, spec) for condition in conditions.cpu().numpy()]
        return contact_sheet(list(zip(first, *pictures, strict=True)), COLUMNS)


TRUTH_PAIRS = 24
"""Pairs whose correspondence is scored where the plugin knows the truth."""
PICTURES = 32
"""Held-out samples whose outputs are judged as pictures."""
LEAST_VARIETY = 0.2
"""Share of the photos' own variety below which outputs are taken not to depend on what is changed."""


class Validation:
    """The first ``count`` samples of the held-out split, the same at every call.

    data: is over that split, and gives each sample an exemplar that makes its photo the right answer: another view of
    the photo's group, or where there is none the photo itself, augmented. As pictures the outputs are judged with other
    exemplars: the photo of the sample half the list away.
    """

    def __init__(self, data: TrainingData, count: int, batch_size: int) -> None:
        numbers, side = range(min(count, len(data))), min(data.config.size)
        parts = [numbers[at : at + batch_size] for at in range(0, len(numbers), batch_size)]
        self.data = data
        self.batches = [HostBatch.of(map(data.item, part), len(part)) for part in parts]
        self.pairs = held_out_pairs(data.plugin, data.samples, TRUTH_PAIRS, side) if parts else []

    def scores(self, judged: Judged, pictures: bool = True) -> Scores:
        """val_l1_warp, val_l1: |a - photo|_1 in [0, 2] of the warped exemplar and of the output, where the photo is the
        right answer; val_class_match and val_match_error where the truth is known; ``picture_scores``.

        pictures: False, while there is no generator yet, leaves out what is said of the output. ``judged.phi`` adds
        val_perceptual, the output's distance to the photo, and val_statistics, its distance to another exemplar in the
        means of the features; both are mean L1 distances over the layers.
        """
        if not self.batches:
            return {}
        answers = [_answer_scores(batch, judged, pictures) for batch in self._arriving(judged.device)]
        sizes = [len(batch) for batch in self.batches]
        scores = {
            n: sum(k * a[n] for k, a in zip(sizes, answers, strict=True)) / sum(sizes) for n in answers[0]
        }
        if pictures:
            scores |= self.picture_scores(judged)
        plugin, side = self.data.plugin, min(self.data.config.size)
        matches = [score_correspondence(judged.net, plugin, p.truth, p.exemplar, side) for p in self.pairs]
        if matches:
            scores["val_class_match"] = fmean(match.class_match for match in matches)
            scores["val_match_error"] = fmean(match.match_error for match in matches)
        return scores

    def picture_scores(self, judged: Judged) -> Scores:
        """What ``evaluate.picture`` measures of the outputs with other exemplars, as val_NAME, and their val_score."""
        photos = self._all("target")[:PICTURES]
        if len(photos) < 2:
            return {}
        other = torch.arange(len(photos)).roll(len(photos) // 2)
        made, statistics = [], []
        for part, batch in zip(
            torch.split(other, len(self.batches[0])), self._arriving(judged.device), strict=False
        ):
            Z = to_unit(photos[part].to(judged.device).permute(0, 3, 1, 2).contiguous())
            with judged.inference():
                image = judged.net(batch.condition[: len(part)], Z).image
                made.append(to_bytes(image).permute(0, 2, 3, 1).cpu())
                if judged.phi is not None:
                    statistics += [len(part) * feature_distance(judged.phi, image, Z, of_means=True)]
        labels = other_labels = None
        if self.data.plugin.spec.kind == "labels":
            labels = self._all("condition")[:PICTURES].numpy().astype(np.int64)
            other_labels = labels[other.numpy()]
        outputs, targets, exemplars = (
            p.numpy().astype(np.float32) / np.float32(255) for p in (torch.cat(made), photos, photos[other])
        )
        found = measure(outputs, targets, exemplars, labels, other_labels)
        scores = {f"val_{name}": value for name, value in found.items()}
        if statistics:
            scores["val_statistics"] = sum(statistics) / len(photos)
        return scores | {"val_score": picture_score(found)}

    def doubts(self) -> list[str]:
        """A line for each fault of the held-out samples that makes their scores meaningless."""
        found = []
        if sum(map(len, self.batches)) > 1:
            conditions, photos, spec = self._all("condition"), self._all("target"), self.data.plugin.spec
            if spec.kind == "labels" and conditions.amin() == conditions.amax():
                name = spec.names[int(conditions.amin())]
                found.append(
                    f"the held-out conditions have one class only ({name}): check the masks with mcltool data preview"
                )
            if (photos == photos[:1]).all():
                found.append("the held-out photos are all alike: check the data with mcltool data preview")
        return found

    def independence(self, judged: Judged) -> str | None:
        """ "condition" or "exemplar" where outputs hardly change with it, the other being the same; else None.

        Judged on the first batch, next to how much its photos differ.
        """
        if not self.batches or len(self.batches[0]) < 2:
            return None
        batch = next(self._arriving(judged.device))
        X, Y = batch.condition, batch.target
        turned = torch.arange(len(X)).roll(1)
        with judged.inference():
            first, other_condition, other_exemplar = (
                judged.net(X_here, Z).image for X_here, Z in ((X, Y), (X[turned], Y), (X, Y[turned]))
            )
        least = LEAST_VARIETY * float(l1(Y, Y[turned]))
        changes = {"condition": other_condition, "exemplar": other_exemplar}
        return next((name for name, image in changes.items() if float(l1(first, image)) < least), None)

    def _arriving(self, device: torch.device) -> Iterator[Batch]:
        return (self.data.arrive(batch.to(device)) for batch in self.batches)

    def _all(self, name: str) -> Tensor:
        """A field of all samples, as in a HostBatch."""
        return torch.cat([batch[name] for batch in self.batches])


def _answer_scores(batch: Batch, judged: Judged, pictures: bool) -> Scores:
    with judged.inference():
        made = judged.net(batch.condition, batch.exemplar)
        scores = {"val_l1_warp": float(l1(made.warped, batch.target))}
        if pictures:
            scores["val_l1"] = float(l1(made.image, batch.target))
        if pictures and judged.phi is not None:
            scores["val_perceptual"] = feature_distance(judged.phi, made.image, batch.target)
    return scores


def feature_distance(phi: VGGFeatures, a_B3HW: Tensor, b_B3HW: Tensor, of_means: bool = False) -> float:
    """Mean over layers of |phi(a) - phi(b)|_1, in units of each layer's scale; of_means: of the features' means over
    positions alone."""
    layers = [phi(image, tuple(LAYERS)) for image in (a_B3HW, b_B3HW)]
    if of_means:
        layers = [[layer.float().mean((2, 3)) for layer in each] for each in layers]
    scales = (PUBLISHED_SCALES[name] for name in LAYERS)
    return fmean(float(l1(a, b)) / scale for a, b, scale in zip(*layers, scales, strict=True))
