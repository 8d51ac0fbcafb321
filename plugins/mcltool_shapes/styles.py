"""Styles: a texture for each class and for the background. A texture maps places in a frame to colours.

Every texture is two smooth gradients, one under and one inside a broad motif (stripes, blobs, sectors,
...), so that places of a shape can be told apart by their colour. Nothing is finer than about a third of
the radius.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_Motif = Callable[[Floats, Floats, Floats], Floats]

_NUMBERS = 28  # random numbers a texture is made of: 0-15 colours, 16-19 gradients and motif, 20-27 its form
_EDGE = np.float32(0.15)  # half the width of a motif's soft edge, in units of its field


@dataclass(frozen=True, eq=False)
class Texture:
    """A motif on a ground, each a gradient between two colours.

    colours: (4, 3) float32 in [0, 255], both ends of the ground, then both ends of the motif.
    ground, figure: unit vectors along the two gradients.
    motif: one of MOTIFS. numbers: (8,) in [0, 1), what forms it.
    """

    colours: Floats
    ground: tuple[float, float]
    figure: tuple[float, float]
    motif: _Motif
    numbers: Floats

    def paint(self, u: Floats, v: Floats) -> Floats:
        """Colours (N, 3) in [0, 255] at the places (u, v), each (N,) in shape frame units."""
        mask = self.motif(u, v, self.numbers)
        mask = np.clip(0.5 + mask / (2 * _EDGE), 0.0, 1.0)
        ground = np.clip(0.5 + (self.ground[0] * u + self.ground[1] * v) / 2.2, 0.0, 1.0)
        figure = np.clip(0.5 + (self.figure[0] * u + self.figure[1] * v) / 2.2, 0.0, 1.0)
        weights = np.empty((len(u), 4), np.float32)
        np.multiply(1 - mask, ground, out=weights[:, 1])
        np.subtract(1 - mask, weights[:, 1], out=weights[:, 0])
        np.multiply(mask, figure, out=weights[:, 3])
        np.subtract(mask, weights[:, 3], out=weights[:, 2])
        return np.asarray(weights @ self.colours)


@dataclass(frozen=True, eq=False)
class Style:
    """The textures of all classes, by label; the first is the background's."""

    textures: tuple[Texture, ...]

    def paint(self, labels: NDArray[np.uint8], place: Floats) -> NDArray[np.uint8]:
        """The photo (H, W, 3) uint8 RGB.

        labels: (H, W). place: (2, H, W), every pixel's place in its frame, as ``scene.Raster`` has it.
        """
        flat = labels.ravel()
        order = np.argsort(flat, kind="stable")
        u, v = place.reshape(2, -1)[:, order]
        ends = np.cumsum(np.bincount(flat, minlength=len(self.textures))).tolist()
        # A texture is at home in [-1, 1]; the background's places are in [0, 1].
        u[: ends[0]], v[: ends[0]] = 2 * u[: ends[0]] - 1, 2 * v[: ends[0]] - 1
        colours = np.empty((len(flat), 3), np.uint8)
        for texture, start, end in zip(self.textures, [0, *ends[:-1]], ends, strict=True):
            if end > start:
                colours[start:end] = texture.paint(u[start:end], v[start:end]) + np.float32(0.5)
        photo = np.empty_like(colours)
        photo[order] = colours
        return photo.reshape(*labels.shape, 3)


def _along(u: Floats, v: Floats, turn: np.float32) -> Floats:
    return np.asarray(np.cos(2 * np.pi * turn) * u + np.sin(2 * np.pi * turn) * v, np.float32)


def _wave(t: Floats, period: np.float32) -> Floats:
    """A sine whose slope at its zeros is 1, so that soft edges are equally wide whatever the period."""
    return np.asarray(np.sin(t * (2 * np.pi / period)) * (period / (2 * np.pi)), np.float32)


def _stripes(u: Floats, v: Floats, n: Floats) -> Floats:
    return _wave(_along(u, v, n[0]) + 2 * n[1], 1.3 + 0.7 * n[2])


def _waves(u: Floats, v: Floats, n: Floats) -> Floats:
    across = _along(u, v, n[0] + np.float32(0.25))
    bend = np.sin(across * (2.5 + n[3]) + 6 * n[4]) * np.float32(0.22)
    return _wave(_along(u, v, n[0]) + bend + 2 * n[1], 1.4 + 0.7 * n[2])


def _rings(u: Floats, v: Floats, n: Floats) -> Floats:
    return _wave(np.hypot(u - n[0] + 0.5, v - n[1] + 0.5) + 2 * n[3], 1.3 + 0.6 * n[2])


def _sectors(u: Floats, v: Floats, n: Floats) -> Floats:
    x, y = u - 0.6 * n[0] + 0.3, v - 0.6 * n[1] + 0.3
    count = np.float32(1 + int(2 * n[2]))
    return np.asarray(
        np.sin(count * np.arctan2(y, x) + 2 * np.pi * n[3]) * np.hypot(x, y) / count, np.float32
    )


def _half(u: Floats, v: Floats, n: Floats) -> Floats:
    across = _along(u, v, n[0] + np.float32(0.25))
    return np.asarray(_along(u, v, n[0]) + (n[1] - 0.5) * 0.5 + (n[2] - 0.5) * across * across, np.float32)


def _blobs(u: Floats, v: Floats, n: Floats) -> Floats:
    """Three discs around the centre, of different sizes."""
    field = np.full_like(u, -1.0)
    for k in range(3):
        turn = 2 * np.pi * (n[0] + (k + 0.6 * n[1 + k]) / 3)
        away = 0.35 + 0.45 * n[4 + k]
        disc = np.float32(0.34 + 0.08 * k) - np.hypot(u - np.cos(turn) * away, v - np.sin(turn) * away)
        np.maximum(field, disc, out=field)
    return field


def _checks(u: Floats, v: Floats, n: Floats) -> Floats:
    period = 1.9 + 0.7 * n[2]
    one = _wave(_along(u, v, n[0]) + 2 * n[1], period)
    other = _wave(_along(u, v, n[0] + np.float32(0.25)) + 2 * n[3], period)
    return np.asarray(one * other * (2 * np.pi / period), np.float32)


MOTIFS: tuple[_Motif, ...] = (_stripes, _waves, _rings, _sectors, _half, _blobs, _checks)
"""Each gives a field over (u, v), positive inside, that grows about as the distance from the motif's edge."""


DRAWINGS: tuple[_Motif, ...] = (_rings, _stripes, _half, _blobs, _sectors)
"""The motif of every class, from label 1. As in a photo of real things, what a class is can be read off its drawing
(and its outline); what a style changes is its colours, and the drawing a little."""
_FORMS = np.random.default_rng(5).random((len(DRAWINGS), 8)).astype(np.float32)
_JITTER = np.float32(0.1)


@lru_cache(maxsize=64)
def draw_style(key: tuple[int, ...]) -> Style:
    """The style of ``key`` (the seed sequence of a generator): the background's texture and one a class."""
    rng = np.random.default_rng(key)
    numbers = rng.random((len(DRAWINGS) + 1, _NUMBERS)).astype(np.float32)
    mood = rng.random(4)
    colours = _colours(numbers[:, :16], mood, rng.permutation(len(DRAWINGS)) + 1)
    ground, figure = _direction(numbers[0, 16]), _direction(numbers[0, 17])
    textures = [
        Texture(colours[0], ground, figure, MOTIFS[int(numbers[0, 18] * len(MOTIFS))], numbers[0, 20:])
    ]
    for motif, form, n, c in zip(DRAWINGS, _FORMS, numbers[1:], colours[1:], strict=True):
        ground, figure = _direction(0.06 * (n[16] - 0.5)), _direction(0.25 + 0.06 * (n[17] - 0.5))
        textures.append(Texture(c, ground, figure, motif, form + _JITTER * (n[20:] - 0.5)))
    return Style(tuple(textures))


def _direction(turn: float | np.floating[Any]) -> tuple[float, float]:
    return float(np.cos(2 * np.pi * turn)), float(np.sin(2 * np.pi * turn))


def _colours(n: Floats, mood: NDArray[np.float64], order: NDArray[np.int64]) -> Floats:
    """(classes + 1, 4, 3) colours in [0, 255] from 16 numbers a texture.

    Hues go round the circle from class to class. A style's mood sets where the circle starts, how
    colourful it is, and the background's hue. A shape is dark on the ground and light on the motif, whatever
    its hues. The background keeps to one hue and little contrast, darker or lighter than the shapes are.
    """
    hue = np.empty((len(n), 4))
    hue[0] = mood[3] + 0.12 * (n[0, :4] - 0.5)
    near = (0.04 + 0.08 * n[1:, 1:3]) * np.where(n[1:, 4:6] < 0.5, -1, 1)
    hue[1:, 0] = mood[0] + (order + 0.7 * n[1:, 0]) / len(order)
    hue[1:, 1] = hue[1:, 0] + near[:, 0]
    hue[1:, 2] = hue[1:, 0] + 0.4 * (n[1:, 3] - 0.5)
    hue[1:, 3] = hue[1:, 2] + near[:, 1]
    chroma = (0.08 + 0.10 * mood[1]) * (0.8 + 0.5 * n[:, 8:12])
    chroma[0] *= 0.5
    lightness = np.empty_like(hue)
    lightness[1:] = np.array([0.37, 0.57, 0.69, 0.87]) + 0.06 * (n[1:, 12:] - 0.5)
    night = n[0, 6] < 0.5
    steps = np.array([-0.05, 0.05, 0.0, 0.09]) * (1 if night else -1)
    lightness[0] = (0.14 if night else 0.9) + 0.06 * n[0, 7] + steps
    return _from_oklch(lightness, chroma, hue)


def _from_oklch(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> Floats:
    """sRGB (..., 3) in [0, 255] of OKLCH colours (Ottosson 2020), clipped to sRGB. Hues are in turns."""
    lab = np.stack([lightness, chroma * np.cos(2 * np.pi * hue), chroma * np.sin(2 * np.pi * hue)], -1)
    cone = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ cone.T) ** 3 @ rgb.T, 0.0, 1.0)
    return np.asarray(
        255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055), np.float32
    )
