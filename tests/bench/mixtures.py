"""Several exemplars at once: what they cost, and whether each place gets the right one. Prints a table.

    python tests/bench/mixtures.py --time --memory --shapes

--shapes: on the shipped weights, held-out conditions of ``shapes``. An exemplar that has all classes, against two
copies that each lack half of them (painted over with the background's colour): how many places find their class, and
PSNR against the exact answer. A control keeps the same places, with the features that they have in the whole photo.
Then two exemplars of different styles, each for half of the classes: in how many places the output is nearer to the
exact answer in the style that was asked for.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcltool.core.config import resolve
from mcltool.core.pixels import to_unit
from mcltool.core.weights import load_model
from mcltool.model.build import make_network
from mcltool.model.correspondence import STRIDE, mixture_features, mixture_warp
from mcltool.model.network import EncodedExemplar, EncodedMixture
from mcltool.plugin import registry

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "shapes.safetensors"
SIDE = 64
HALF = (0, 1, 2), (3, 4, 5)


def times() -> None:
    """A 256 px image of base, exemplars encoded before."""
    plugin = registry.load("shapes")
    net = make_network(resolve("shapes", "base").model, plugin.spec.channels, (256, 256)).eval()
    X = torch.randint(0, 6, (1, 256, 256), dtype=torch.uint8)
    rows: dict[int, list[float]] = {1: [], 2: [], 4: []}
    with torch.inference_mode():
        encoded = [net.encode_exemplars(torch.rand(1, 3, 256, 256) * 2 - 1)[0] for _ in range(4)]
        for _ in range(7):
            for count, row in rows.items():
                weights = torch.rand(count, 64 * 64)
                style = encoded[0] if count == 1 else EncodedMixture(encoded[:count], weights)
                started = time.perf_counter()
                net.translate(X, [style])
                row.append(time.perf_counter() - started)
    base = statistics.median(rows[1])
    for count, row in rows.items():
        ratio = statistics.median(row) / base
        print(
            f"| {count} | {statistics.median(row):.2f} s | {min(row):.2f} to {max(row):.2f} | {ratio:.2f} |"
        )


def memory() -> None:
    """Peak of the warp alone, each in a process of its own, beside what the literal weights would take."""
    for n in (4096, 8192, 16384):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", str(n)], capture_output=True, text=True, check=True
        )
        print(f"| {n} | {done.stdout.strip()} MiB | literal {n * 4 * n * 4 / 2**20:.0f} MiB |")


def peak(n: int) -> None:
    u, v = torch.randn(n, 64), [torch.randn(n, 64) for _ in range(4)]
    values, weights = [torch.randn(n, 48) for _ in range(4)], torch.rand(4, n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        mixture_warp(u, v, values, weights, 0.01)
    print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def shapes(count: int) -> None:
    plugin = registry.load("shapes")
    net, _ = load_model(WEIGHTS, torch.device("cpu"))
    val = plugin.index(None, "val")
    found: list[tuple[float, float, float, float, float]] = []
    nearer: list[NDArray[np.bool_]] = []
    for number in range(count):
        sample, one, other = val[number], val[number + 1], val[(number + 9) % len(val)]
        truth, second = (plugin.truth(sample, e, SIDE) for e in (one, other))
        assert truth
        assert second
        photo, labels = plugin.photo(one, SIDE), plugin.condition(one, SIDE).raster
        assert labels is not None
        background = photo[labels == 0].mean(0)
        halves = []
        for classes in HALF:
            lacks = ~np.isin(labels, (0, *classes))
            halves.append(
                (np.where(lacks[..., None], background, photo).astype(np.uint8), np.where(lacks, 0, labels))
            )
        full = _scores(net, truth, [(photo, labels)])
        both = _scores(net, truth, halves)
        found.append((*full, *both, _control(net, truth, photo, labels)))
        nearer.append(_right_style(net, plugin, truth, second, (photo, plugin.photo(other, SIDE))))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    full_match, full_psnr, both_match, both_psnr, control = (float(column.mean()) for column in columns)
    apart = columns[2] - columns[0]
    error = apart.std(ddof=1) / count**0.5
    print(f"one exemplar with all classes: class match {full_match:.3f}, PSNR {full_psnr:.2f} dB")
    print(f"two that each lack half:       class match {both_match:.3f}, PSNR {both_psnr:.2f} dB")
    print(f"difference in class match: {apart.mean():.4f}, standard error {error:.4f}")
    print(f"the places of the halves, with the whole photo's features: class match {control:.3f}")
    places = np.concatenate(nearer)
    print(f"two styles by classes: the right one in {places.mean():.4f} of {len(places)} places")


def _scores(
    net: Any, truth: Any, exemplars: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> tuple[float, float]:
    """Share of places whose best match has their class; PSNR of the output."""
    X = torch.from_numpy(truth.labels)[None]
    encoded = [_encode(net, photo) for photo, _ in exemplars]
    with torch.inference_mode():
        u = net.condition_features(X)[0]
        weights = torch.ones(len(exemplars), len(u))
        q, k = (
            (u, encoded[0].v)
            if len(encoded) == 1
            else mixture_features(u, [e.v for e in encoded], weights, net.temperature)
        )
        best = (q @ k.T).argmax(1)
        image = net.translate(
            X, [encoded[0] if len(encoded) == 1 else EncodedMixture(encoded, weights)]
        ).image[0]
    classes = np.concatenate([_cells(labels) for _, labels in exemplars])[best]
    error = ((_pixels(image) - truth.image.astype(float)) ** 2).mean()
    return float((classes == _cells(truth.labels)).mean()), float(10 * np.log10(255**2 / error))


def _control(net: Any, truth: Any, photo: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    """Class match where each half's places are matched by the features that they have in the whole photo."""
    kept = [_whole_cells(np.isin(labels, (0, *classes))) for classes in HALF]
    with torch.inference_mode():
        u = net.condition_features(torch.from_numpy(truth.labels)[None])[0]
        v = _encode(net, photo).v
        best = (u @ torch.cat([v[torch.from_numpy(mask)] for mask in kept]).T).argmax(1)
    classes = np.concatenate([_cells(labels)[mask] for mask in kept])[best]
    return float((classes == _cells(truth.labels)).mean())


def _whole_cells(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    h, w = (side // STRIDE for side in inside.shape)
    return np.asarray(inside.reshape(h, STRIDE, w, STRIDE).all((1, 3)).ravel())


def _right_style(
    net: Any, plugin: Any, first: Any, second: Any, photos: tuple[NDArray[np.uint8], ...]
) -> NDArray[np.bool_]:
    from mcltool.translate.exemplars import Exemplar, weights_of

    names = plugin.spec.names
    exemplars = [Exemplar(str(n), classes=tuple(names[c] for c in half)) for n, half in enumerate(HALF)]
    weights, _ = weights_of(exemplars, first.labels, first.labels.shape, plugin.spec)
    mixture = EncodedMixture([_encode(net, photo) for photo in photos], torch.from_numpy(weights).flatten(1))
    with torch.inference_mode():
        image = _pixels(net.translate(torch.from_numpy(first.labels)[None], [mixture]).image[0])
    a, b, made = (_means(picture) for picture in (first.image, second.image, image))
    apart = np.abs(a - b).mean(-1) > 24  # elsewhere both styles look alike
    is_first = np.isin(_cells(first.labels), HALF[0]).reshape(apart.shape)
    nearer_first = np.abs(made - a).mean(-1) < np.abs(made - b).mean(-1)
    return np.asarray((nearer_first == is_first)[apart])


def _encode(net: Any, photo: NDArray[np.uint8]) -> EncodedExemplar:
    with torch.inference_mode():
        found: EncodedExemplar = net.encode_exemplars(to_unit(torch.tensor(photo).permute(2, 0, 1)[None]))[0]
    return found


def _cells(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The main class of each place, in reading order."""
    h, w = (side // STRIDE for side in labels.shape)
    one_hot = np.eye(6)[labels].reshape(h, STRIDE, w, STRIDE, 6).sum((1, 3))
    return one_hot.argmax(-1).ravel()


def _means(picture: NDArray[Any]) -> NDArray[np.floating[Any]]:
    h, w = (side // STRIDE for side in picture.shape[:2])
    return picture.astype(float).reshape(h, STRIDE, w, STRIDE, 3).mean((1, 3))


def _pixels(image_3HW: torch.Tensor) -> NDArray[np.floating[Any]]:
    return np.asarray(((image_3HW.permute(1, 2, 0).numpy() + 1) * 127.5).clip(0, 255))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("time", "memory", "shapes"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--count", type=int, default=24, help="conditions of --shapes")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak)
    if options.shapes:
        shapes(options.count)
    if options.memory:
        memory()
    if options.time:
        times()


if __name__ == "__main__":
    main()
