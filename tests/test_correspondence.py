"""Self-correlation map, correspondence and warp against their equations (docs/method.md, sections 1 and 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tensors import LargestTensor
from torch import Tensor, nn

from mcltool.model.blocks import (
    planes,
    positions,
)
from mcltool.model.correspondence import (
    CorrespondenceFeatures,
    SelfCorrelationMap,
    attention_warp,
    best_match,
    centred_unit,
    from_patches,
    patches,
)
from mcltool.model.lean import coordinates


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


# --- Self-correlation map (section 1) ---


def test_the_hat_is_centred_over_channels_and_of_length_1() -> None:
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for i in range(3):
            centred = x[b, i] - sum(x[b, i]) / 5
            torch.testing.assert_close(centred_unit(x)[b, i], centred / sum(centred**2) ** 0.5)


def test_the_hat_of_a_constant_is_zero_and_has_a_finite_gradient() -> None:
    x = torch.ones(1, 1, 4, requires_grad=True)
    hat = centred_unit(x)
    hat.sum().backward()
    assert not hat.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_map_by_association_is_the_map_itself_times_w() -> None:
    """S = M W + b with the literal N x N map M = x^ x^^T, values and gradients."""
    scm = SelfCorrelationMap(7, (4, 6)).double()
    nn.init.normal_(scm.bias)
    xhat = centred_unit(torch.randn(2, 24, 5, dtype=torch.float64)).requires_grad_()
    found = scm(xhat, (4, 6))

    M = torch.einsum("bic,bjc->bij", xhat, xhat)
    W = scm.weight.reshape(7, 24).T  # position j = row * 6 + column
    literal = M @ W + scm.bias
    torch.testing.assert_close(found, literal, rtol=1e-12, atol=1e-12)

    leaves, direction = (xhat, scm.weight, scm.bias), torch.randn_like(found)
    for got, want in zip(
        torch.autograd.grad((found * direction).sum(), leaves),
        torch.autograd.grad((literal * direction).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def field(functions: list[Callable[[Tensor, Tensor], Tensor]], grid: tuple[int, int]) -> Tensor:
    """Smooth functions of y, x in [-1, 1] sampled at the centres of a grid's cells: (functions, h, w)."""
    y, x = coordinates(torch.empty(1, 1, *grid))[0].double()
    return torch.stack([f(y, x) for f in functions])


WEIGHT_FIELD: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda y, x: torch.cos(2 * x + y),
    lambda y, x: y * x + 0.3 * y,
    lambda y, x: torch.exp(-(x**2) - (y - 0.3) ** 2),
]
FEATURE_FIELD: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda y, x: 2 + torch.sin(3 * x),
    lambda y, x: torch.cos(2 * y) - 1,
    lambda y, x: y - x,
    lambda y, x: 0.5 + y * x,
]


def map_made_on(grid: tuple[int, int]) -> SelfCorrelationMap:
    """The same smooth layer as it would be trained at another size: its sum over positions stays the same."""
    scm = SelfCorrelationMap(len(WEIGHT_FIELD), grid).double()
    scm.weight.data = field(WEIGHT_FIELD, grid) / (grid[0] * grid[1])
    return scm


@pytest.mark.parametrize("grid", [(32, 32), (24, 16), (12, 20), (64, 64)])
def test_w_resampled_to_another_grid_is_nearly_w_made_on_that_grid(grid: tuple[int, int]) -> None:
    found, made = map_made_on((16, 16)).resampled(grid), map_made_on(grid).weight
    assert found.shape == made.shape
    assert (found - made).norm() < 0.03 * made.norm()


@pytest.mark.parametrize("grid", [(32, 32), (24, 16), (12, 20)])
def test_the_same_scene_at_another_size_has_about_the_same_self_correlation(grid: tuple[int, int]) -> None:
    """One layer, made for 16 x 16, on a scene sampled at 16 x 16 and at another grid."""
    scm = map_made_on((16, 16))

    def correlations(size: tuple[int, int]) -> Tensor:
        x = field(FEATURE_FIELD, size).flatten(1).T[None]
        return planes(scm(centred_unit(x), size), size)

    ours = correlations(grid)
    theirs = F.interpolate(correlations((16, 16)), grid, mode="bilinear", antialias=True)
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_on_its_own_grid_w_is_used_as_it_is() -> None:
    scm = SelfCorrelationMap(3, (4, 6))
    assert scm.resampled((4, 6)) is scm.weight


def test_correspondence_features_are_hat_and_hat_of_the_map_side_by_side() -> None:
    layer = CorrespondenceFeatures(6, (2, 3))
    x = torch.randn(2, 5, 2, 3)
    u = layer(x)
    assert u.shape == (2, 6, 5 + 6)
    torch.testing.assert_close(u.norm(dim=2), torch.ones(2, 6))
    xhat = centred_unit(x.flatten(2).transpose(1, 2))
    assert layer.scm is not None
    shat = centred_unit(layer.scm(xhat, (2, 3)))
    torch.testing.assert_close(u, F.normalize(torch.cat([xhat, shat], 2), dim=2))


def test_scm_channels_0_leave_the_map_out() -> None:
    layer = CorrespondenceFeatures(0, (2, 3))
    x = torch.randn(1, 5, 2, 3)
    torch.testing.assert_close(layer(x), centred_unit(x.flatten(2).transpose(1, 2)))
    assert not list(layer.parameters())


def test_place_adds_to_each_product_how_near_the_two_positions_lie() -> None:
    """Of grids of other sizes, by hand: (1 - w) u.v + w (cos pi dy + cos pi dx) / 2, dy and dx shares of the sides."""
    torch.manual_seed(1)
    plain, placed = CorrespondenceFeatures(0, (2, 3)), CorrespondenceFeatures(0, (2, 3), place=0.3)
    x, z = torch.randn(1, 5, 2, 3), torch.randn(1, 5, 4, 2)
    u, v = placed(x), placed(z)
    torch.testing.assert_close(u.norm(dim=2), torch.ones(1, 6))
    features = (plain(x) @ plain(z).transpose(1, 2))[0]
    for i, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        for j, (other_row, other_column) in enumerate((r, c) for r in range(4) for c in range(2)):
            dy = (row + 0.5) / 2 - (other_row + 0.5) / 4
            dx = (column + 0.5) / 3 - (other_column + 0.5) / 2
            near = (math.cos(math.pi * dy) + math.cos(math.pi * dx)) / 2
            expected = 0.7 * features[i, j].item() + 0.3 * near
            assert (u[0, i] @ v[0, j]).item() == pytest.approx(expected, abs=1e-5)


# --- Correspondence and warp (section 3) ---


@pytest.mark.parametrize("width", [3, 8, 20])
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_attention_warp_is_softmax_times_values(width: int, temperature: float) -> None:
    """Values narrower than, as wide as and wider than the features (8); 12 positions see 10."""
    u, v, values = unit(2, 12, 8), unit(2, 10, 8), torch.randn(2, 10, width)
    T = (u.double() @ v.double().transpose(1, 2) / temperature).softmax(2)
    literal = T @ values.double()
    found = attention_warp(u, v, values, temperature)
    assert found.shape == (2, 12, width)
    torch.testing.assert_close(found.double(), literal, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 4, 1024])
def test_attention_warps_gradient_is_that_of_softmax_times_values(rows: int) -> None:
    exact = [unit(2, 9, 8).double(), unit(2, 7, 8).double(), torch.randn(2, 7, 3).double()]
    exact = [tensor.requires_grad_() for tensor in exact]
    single = [tensor.detach().float().requires_grad_() for tensor in exact]
    direction = torch.randn(2, 9, 3)
    literal = (exact[0] @ exact[1].transpose(1, 2) / 0.1).softmax(2) @ exact[2]
    wanted = torch.autograd.grad((literal * direction).sum(), exact)
    warped = attention_warp(*single, 0.1, rows)  # type: ignore[misc]
    found = torch.autograd.grad((warped * direction).sum(), single)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-4)


def test_attention_warp_holds_a_few_rows_of_all_pairs_at_a_time() -> None:
    N, rows = 600, 25
    u, v, values = (unit(1, N, 8).requires_grad_() for _ in range(3))
    with LargestTensor() as seen:
        attention_warp(u, v, values, 0.1, rows).sum().backward()
    assert seen.numbers == N * rows


def test_attention_warp_is_float32_under_autocast() -> None:
    u, v, values = unit(1, 12, 8), unit(1, 12, 8), torch.randn(1, 12, 3)
    plain = attention_warp(u, v, values, 0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = attention_warp(u, v, values, 0.01)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)


@pytest.mark.parametrize("rows", [4, 5, 1024])
def test_best_match_is_the_position_of_the_largest_cosine(rows: int) -> None:
    u, v = unit(2, 12, 6), unit(2, 9, 6)
    match, cosine = best_match(u, v, rows)
    for b in range(2):
        for i in range(12):
            cosines = [float(u[b, i] @ v[b, j]) for j in range(9)]
            assert match[b, i] == cosines.index(max(cosines))
            assert cosine[b, i].item() == pytest.approx(max(cosines), rel=1e-5)


def test_patches_are_4_by_4_pixels_in_reading_order() -> None:
    image = torch.randn(2, 3, 8, 12)
    values = patches(image)
    assert values.shape == (2, 2 * 3, 48)
    for row in range(2):
        for column in range(3):
            cell = image[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(values[:, row * 3 + column], cell.flatten(1))


def test_from_patches_undoes_patches() -> None:
    image = torch.randn(2, 5, 8, 12)
    assert torch.equal(from_patches(patches(image), (2, 3)), image)


def test_positions_and_planes_are_each_others_inverse() -> None:
    x = torch.randn(2, 5, 3, 4)
    assert torch.equal(positions(x)[:, 1 * 4 + 2], x[:, :, 1, 2])
    assert torch.equal(planes(positions(x), (3, 4)), x)
