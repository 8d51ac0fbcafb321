"""Differentiable augmentation: one change for a photo and its generated twin, and gradients that pass through it."""

from __future__ import annotations

import torch

from mcltool.model.discriminator import augmented

B, SIDE = 64, 32


def test_condition_and_image_are_moved_and_cut_alike() -> None:
    """The planes hold each pixel's place, as the image's mean does: they are shown the same places, or 0 both."""
    place = torch.arange(1.0, SIDE * SIDE + 1).view(1, 1, SIDE, SIDE).expand(B, 1, SIDE, SIDE) / SIDE**2
    planes, image = augmented(place, torch.zeros(B, 3, SIDE, SIDE), seed=1)
    outside = planes == 0
    assert 0.2 < outside.float().mean() < 0.7
    assert ((image == 0).all(1, keepdim=True) == outside).all()
    whole = planes[planes > 0] * SIDE**2
    assert torch.allclose(whole, whole.round(), atol=1e-3)  # moved by whole pixels, never blended
    inner = [plane[plane > 0].mean() - place.mean() for plane in planes]
    assert torch.stack(inner).abs().max() < 0.5
    assert len({round(float(shift), 3) for shift in inner}) > B // 4  # of another amount in each sample


def test_both_halves_of_a_batch_are_changed_alike_and_every_seed_otherwise() -> None:
    planes, image = torch.rand(B, 2, SIDE, SIDE), torch.rand(B, 3, SIDE, SIDE)
    twice = augmented(torch.cat([planes, planes]), torch.cat([image, image]), 7)
    assert all(torch.equal(x[:B], x[B:]) for x in twice)
    again, other = (
        augmented(torch.cat([planes, planes]), torch.cat([image, image]), seed)[1] for seed in (7, 8)
    )
    assert torch.equal(twice[1], again)
    assert not torch.equal(again, other)


def test_colours_change_as_the_paper_says() -> None:
    """A grey image of one value keeps saturation and contrast out of it: only brightness, by up to a half."""
    _, image = augmented(torch.ones(B, 1, SIDE, SIDE), torch.zeros(B, 3, SIDE, SIDE), 3)
    values = image.amax((1, 2, 3)) + image.amin((1, 2, 3))  # what is cut out is 0
    assert -0.5 <= values.min() < -0.3
    assert 0.3 < values.max() <= 0.5


def test_gradients_pass_where_the_image_is_seen() -> None:
    image = torch.rand(2, 3, SIDE, SIDE, requires_grad=True)
    _, seen = augmented(torch.ones(2, 1, SIDE, SIDE), image, 0)
    seen.square().sum().backward()
    assert image.grad is not None
    assert 0.2 < (image.grad != 0).float().mean() <= 1
