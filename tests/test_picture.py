"""What is measured of outputs without right answers: each measure on pictures made so that its value is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mcltool.evaluate.picture import (
    WANTED,
    Images,
    Labels,
    explained,
    marked,
    measure,
    patch_distance,
    score,
    style,
)

N, SIDE = 8, 32


@pytest.fixture(scope="module")
def labels() -> Labels:
    """Two classes: a square of another size in each."""
    found = np.zeros((N, SIDE, SIDE), np.int64)
    for i in range(N):
        found[i, 4 : 16 + i, 4 : 16 + i] = 1
    return found


@pytest.fixture(scope="module")
def photos(labels: Labels) -> Images:
    """A colour a class, others in each photo, and grain."""
    return painted(labels, 0) + np.random.default_rng(1).normal(0, 0.03, (*labels.shape, 3)).astype(
        np.float32
    )


def painted(labels: Labels, seed: int) -> NDArray[np.float32]:
    colours = np.random.default_rng(seed).random((len(labels), 2, 3)).astype(np.float32)
    return np.stack([colour[each] for colour, each in zip(colours, labels, strict=True)])


def repainted(labels: Labels, exemplars: Images, exemplar_labels: Labels) -> Images:
    """Each class in the mean colour that it has in the exemplar."""
    out = np.zeros((*labels.shape, 3), np.float32)
    for i in range(len(labels)):
        for k in (0, 1):
            out[i][labels[i] == k] = exemplars[i][exemplar_labels[i] == k].mean(0)
    return out


def test_photos_are_to_themselves_what_photos_are(photos: Images, labels: Labels) -> None:
    found = measure(photos, photos, photos, labels, labels)
    assert found == pytest.approx({"vary": 1, "layout": 1, "style": 1, "detail": 1, "patch": 0}, abs=1e-6)
    assert score(found) == 1


def test_the_same_picture_for_every_condition_has_no_variety(photos: Images, labels: Labels) -> None:
    found = measure(np.repeat(photos[:1], N, 0), photos, np.roll(photos, 1, 0), labels, np.roll(labels, 1, 0))
    assert found["vary"] == 0
    assert score(found) == 0


def test_classes_painted_in_the_exemplars_colours_have_its_style_and_no_detail(
    photos: Images, labels: Labels
) -> None:
    exemplars, theirs = np.roll(photos, 3, 0), np.roll(labels, 3, 0)
    found = measure(repainted(labels, exemplars, theirs), photos, exemplars, labels, theirs)
    assert found["style"] > 0.999
    assert found["detail"] < 0.7
    assert found["layout"] > 1  # nothing but the classes explains the colours


def test_colours_of_the_class_alone_have_no_style(photos: Images, labels: Labels) -> None:
    usual = repainted(labels, np.repeat(photos[:1], N, 0), np.repeat(labels[:1], N, 0))
    assert abs(style(usual, photos, np.roll(photos, 3, 0), labels, np.roll(labels, 3, 0))) < 0.3


def test_the_share_that_classes_explain_is_the_ratio_of_variances(labels: Labels) -> None:
    image = np.where(labels[0][..., None] == 1, 1.0, 0.0).astype(np.float32).repeat(3, 2)
    assert explained(image, labels[0]) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(0, 0.5, image.shape).astype(np.float32)
    p = (labels[0] == 1).mean()
    assert explained(image + noise, labels[0]) == pytest.approx(p * (1 - p) / (p * (1 - p) + 0.25), rel=0.1)


def test_patches_are_nearer_to_photos_than_a_blur_of_them(photos: Images) -> None:
    grain = np.random.default_rng(5).normal(0, 0.03, photos.shape).astype(np.float32)
    flat = photos.mean((1, 2), keepdims=True).repeat(SIDE, 1).repeat(SIDE, 2)
    assert patch_distance(photos + grain / 4, photos) < patch_distance(flat, photos)


def test_without_labels_style_is_of_the_whole_picture(photos: Images) -> None:
    found = measure(np.roll(photos, 2, 0), photos, np.roll(photos, 2, 0))
    assert set(found) == {"vary", "style", "detail", "patch"}
    assert found["style"] == pytest.approx(1)


def test_photos_all_alike_are_left_out_instead_of_divided_by(labels: Labels) -> None:
    grey = np.full((N, SIDE, SIDE, 3), 0.5, np.float32)
    assert measure(grey, grey, grey, labels, labels).keys() <= {"layout", "style"}


def test_a_mark_is_full_in_the_wanted_range_and_falls_outside() -> None:
    vary = WANTED["vary"]
    assert [vary.mark(v) for v in (0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 9.0)] == pytest.approx(
        [0, 0.5, 1, 1, 0.5, 0, 0]
    )
    assert [vary.verdict(v) for v in (0.79, 1.0, 1.21)] == ["low", "good", "high"]


def test_what_is_wrong_stands_beside_the_number() -> None:
    assert marked({"vary": 0.9051, "detail": 0.47, "l1": 0.2}) == "vary 0.905  detail 0.470 (low)  l1 0.200"
