"""What a model sees in a condition and an exemplar: its maps as numbers, and the sheet that ``explain`` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.pictures import (
    DIVERGING,
    MARKS,
    Panel,
    Picture,
    Strip,
    crossed,
    heat,
    heat_bar,
    overlaid,
    panel_sheet,
)
from mcltool.core.pixels import to_bytes
from mcltool.data.batch import condition_picture
from mcltool.model.correspondence import STRIDE, centred_unit, confidence
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec

CELL = 256
"""Height in pixels of the pictures on the sheet."""

Size = tuple[int, int]
Map = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Spot:
    """A position of the condition and its best match. Coordinates are pixels of the files, as they are on disk.

    name: its class ("labels" conditions). cosine: between the features of the two, in [-1, 1]. probability: the
    share of the warped exemplar that comes from the match, in [0, 1].
    """

    x: int
    y: int
    name: str
    match_x: int
    match_y: int
    cosine: float
    probability: float


@dataclass(frozen=True, eq=False)
class View:
    """What the network made of the pair, on the grids of condition and exemplar.

    planes: (K, H, W). hat, match_hat: (N, C) and (M, C) centred unit features. u, v: (N, D) and (M, D)
    correspondence features.
    """

    grid: Size
    match_grid: Size
    planes: Tensor
    exemplar: Picture
    warped: Picture
    image: Picture
    hat: Tensor
    match_hat: Tensor
    u: Tensor
    v: Tensor
    temperature: float

    def attention(self, position: int) -> Map:
        """(h, w) over the exemplar: where the position takes its colours from; sums to 1."""
        logits = self.v @ self.u[position] / self.temperature
        return logits.softmax(0).reshape(self.match_grid).cpu().numpy()

    def confidence(self) -> Map:
        """(h, w) over the condition: the largest of the attention of each position."""
        return confidence(self.u, self.v, self.temperature).reshape(self.grid).cpu().numpy()

    def self_correlation(self, position: int) -> Map:
        """(h, w) over the condition: its row of the self-correlation map, in [-1, 1]."""
        return (self.hat @ self.hat[position]).reshape(self.grid).cpu().numpy()

    def match_self_correlation(self, match: int) -> Map:
        """(h, w) over the exemplar: the same of a position there."""
        return (self.match_hat @ self.match_hat[match]).reshape(self.match_grid).cpu().numpy()


def look(net: MCLNet, X_1KHW: Tensor, Z_13HW: Tensor) -> View:
    """Run ``net`` on a condition (1, K, H, W) and an exemplar (1, 3, H', W') in [-1, 1]."""
    size = (X_1KHW.shape[2], X_1KHW.shape[3])
    with torch.inference_mode():
        X_1EHW = net.embed_condition(X_1KHW)
        x, z = net.encode_condition(X_1EHW), net.encode_photo(Z_13HW)
        u, v = net.match_condition(x, X_1EHW), net.match_photo(z)
        warped = net.warp(u, v, Z_13HW, size)
        image = net.generator(warped, X_1EHW)
        hat, match_hat = (centred_unit(features.flatten(2).transpose(1, 2))[0] for features in (x, z))
    return View(
        grid=(x.shape[2], x.shape[3]),
        match_grid=(z.shape[2], z.shape[3]),
        planes=X_1KHW[0],
        exemplar=_picture(Z_13HW),
        warped=_picture(warped),
        image=_picture(image),
        hat=hat,
        match_hat=match_hat,
        u=u[0],
        v=v[0],
        temperature=net.temperature,
    )


def describe(view: View, spec: ConditionSpec, position: int, size: Size, match_size: Sequence[int]) -> Spot:
    """The position and its match; size and match_size are (height, width) of the files' pictures in pixels."""
    attention = view.attention(position)
    match = int(attention.argmax())
    cosine = float(view.u[position] @ view.v[match])
    (x, y), (match_x, match_y) = _centre(position, view.grid), _centre(match, view.match_grid)
    name = ""
    if spec.kind == "labels":
        shares = torch.nn.functional.avg_pool2d(view.planes[None], STRIDE)[0].flatten(1)
        name = spec.names[int(shares[:, position].argmax())]
    height, width = size
    match_height, match_width = match_size[:2]
    return Spot(
        int(x * width), int(y * height), name, int(match_x * match_width), int(match_y * match_height),
        round(cosine, 4), round(float(attention.max()), 4),
    )  # fmt: skip


def draw(view: View, spec: ConditionSpec, positions: Sequence[int], spots: Sequence[Spot]) -> Picture:
    """The sheet: what goes in and comes out, then three maps of every position in ``positions``."""
    colours = [MARKS[number % len(MARKS)] for number in range(len(spots))]
    attentions = [view.attention(position) for position in positions]
    matches = [int(attention.argmax()) for attention in attentions]
    places = [(*_centre(p, view.grid), c) for p, c in zip(positions, colours, strict=True)]
    match_places = [(*_centre(m, view.match_grid), c) for m, c in zip(matches, colours, strict=True)]
    sure = view.confidence()
    most = float(sure.max())
    first = [
        Panel(crossed(_condition(view.planes, spec), places, CELL), "condition"),
        Panel(crossed(view.exemplar, match_places, CELL), "exemplar, best matches"),
        Panel(view.warped, "warped exemplar"),
        Panel(view.image, "result"),
        Panel(heat(sure, 0, most), "match confidence"),
    ]
    rows: list[list[Panel]] = [[], [], []]
    for number, (spot, colour) in enumerate(zip(spots, colours, strict=True)):
        here, there = [places[number]], [match_places[number]]
        correlation = heat(view.self_correlation(positions[number]), -1, 1, DIVERGING)
        of_match = heat(view.match_self_correlation(matches[number]), -1, 1, DIVERGING)
        where = overlaid(view.exemplar, attentions[number])
        caption = f"{spot.x},{spot.y} {spot.name}".rstrip()
        share = f"{caption}: up to {spot.probability:.0%}"
        rows[0].append(Panel(crossed(where, there, CELL), share, colour))
        rows[1].append(Panel(crossed(correlation, here, CELL), caption, colour))
        caption = f"{spot.match_x},{spot.match_y} cosine {spot.cosine:.2f}"
        rows[2].append(Panel(crossed(of_match, there, CELL), caption, colour))
    likeness = heat_bar(-1, 1, CELL, DIVERGING)
    source = "Correspondence: where in the exemplar each marked place takes its colours from"
    alike = "Self-correlation map: how alike every place of the condition is to the marked one"
    alike_there = "The exemplar's self-correlation map at the best match: how alike its places are to that"
    return panel_sheet(
        [
            Strip("", first, heat_bar(0, most, CELL)),
            Strip(source, rows[0]),
            Strip(alike, rows[1], likeness),
            Strip(alike_there, rows[2], likeness),
        ],
        CELL,
    )


def _condition(planes_KHW: Tensor, spec: ConditionSpec) -> Picture:
    planes = planes_KHW.cpu()
    rendered = planes.argmax(0).to(torch.uint8) if spec.kind == "labels" else planes.permute(1, 2, 0)
    return condition_picture(rendered.numpy(), spec)


def _centre(position: int, grid: Size) -> tuple[float, float]:
    """x, y of the middle of a position, in [0, 1]."""
    row, column = divmod(position, grid[1])
    return (column + 0.5) / grid[1], (row + 0.5) / grid[0]


def _picture(image_13HW: Tensor) -> Picture:
    return np.asarray(to_bytes(image_13HW[0]).permute(1, 2, 0).cpu().numpy(), np.uint8)
