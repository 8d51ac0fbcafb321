"""Would the warp gain by looking at some keys only? What must be kept for a result within 1e-3 of the exact one.

    PYTHONPATH=.:plugins python tests/bench/selection.py [--size 512] [--blocks 24]

Queries and keys are taken in blocks of 8 x 8 positions, as a selection has to be to stay a product of matrices. A block
of keys may be left out of a block of queries if what its softmax gives up to each query adds up to at most 5e-4: of
values from -1 to 1, that is an error of 1e-3. Prints the share of keys to keep on average,

- best: by an oracle that knows the exact weights: no selection keeps fewer,
- pooled: taken in the order of the mean features' products, and stopped by the oracle,
- bound: whatever an upper bound of the product (mean features and radius of the block) does not rule out: what can be
  promised without looking.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from mcltool.core.lookup import shipped_weights
from mcltool.core.pixels import to_unit
from mcltool.core.weights import load_model
from mcltool.data.batch import condition_planes, random_conditions, random_photos
from mcltool.evaluate.pairs import held_out_pairs
from mcltool.model.network import MCLNet
from mcltool.plugin import registry as plugins
from mcltool.tools.bench.run import random_weights, the_subject

SIDE, LOST = 8, 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument(
        "--blocks", type=int, default=24, help="blocks of queries that are looked at, of each pair"
    )
    options = parser.parse_args()
    print("| | keys kept: best | pooled | bound |\n|---|---|---|---|")
    with torch.inference_mode():
        for name, features in (("trained (tiny, shapes)", trained), ("random (hd)", untrained)):
            u, v, temperature = features(options.size)
            found = torch.tensor(shares(u, v, temperature, options.size // 4, options.blocks)).mean(0)
            print(
                f"| {name}, {options.size} px | {' | '.join(f'{share:.0%}' for share in found.tolist())} |",
                flush=True,
            )


def trained(size: int) -> tuple[Tensor, Tensor, float]:
    plugin = plugins.load("shapes")
    net, _ = load_model(shipped_weights())
    pair = held_out_pairs(plugin, plugin.index(None, "val"), 1, size)[0]
    X = condition_planes(torch.from_numpy(pair.truth.labels)[None], plugin.spec)
    photo = torch.from_numpy(plugin.photo(pair.exemplar, size)).permute(2, 0, 1)[None]
    return *features_of(net, X, to_unit(photo)), net.temperature


def untrained(size: int) -> tuple[Tensor, Tensor, float]:
    subject = the_subject("hd", (size, size), "cpu", "fp32", 1)
    with random_weights(subject) as file:
        net, _ = load_model(file)
    X = condition_planes(random_conditions(1, subject.size, subject.plugin.spec), subject.plugin.spec)
    return *features_of(net, X, to_unit(random_photos(1, subject.size))), net.temperature


def features_of(net: MCLNet, X: Tensor, photo: Tensor) -> tuple[Tensor, Tensor]:
    """u and v: (N, D)."""
    net.eval()
    return net.condition_features(X)[0], net.photo_features(photo)[0]


def shares(
    u: Tensor, v: Tensor, temperature: float, grid: int, blocks: int
) -> list[tuple[float, float, float]]:
    """Shares of keys to keep, for some blocks of queries."""
    queries, keys = in_blocks(u, grid), in_blocks(v, grid)
    centre = keys.mean(1)
    radius = (keys - centre[:, None]).norm(dim=2).amax(1)
    chosen = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))[:blocks]
    found = []
    for q in queries[chosen]:
        logits = q @ keys.flatten(0, 1).T / temperature
        weights = logits.softmax(1).unflatten(1, (len(keys), SIDE**2)).sum(2)
        by_weight = weights.amax(0).argsort(descending=True)
        by_pooled = (q.mean(0) @ centre.T).argsort(descending=True)
        total = logits.logsumexp(1)[:, None]
        most = SIDE**2 * ((q @ centre.T + radius) / temperature - total).exp()
        by_bound = most.amax(0).argsort(descending=True)
        found.append((kept(weights, by_weight), kept(weights, by_pooled), kept(most, by_bound)))
    return found


def kept(weights: Tensor, order: Tensor) -> float:
    """The share of blocks, in this order, behind which no query loses more than LOST."""
    lost = (
        weights[:, order].flip(1).cumsum(1).flip(1).amax(0)
    )  # what is lost if all from here on are left out
    return (lost > LOST).sum().item() / len(order)


def in_blocks(x: Tensor, grid: int) -> Tensor:
    """(N, D) on a grid to (blocks, SIDE**2, D)."""
    n = grid // SIDE
    return x.view(n, SIDE, n, SIDE, -1).transpose(1, 2).reshape(n * n, SIDE**2, -1)


if __name__ == "__main__":
    main()
