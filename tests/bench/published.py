"""Parameters and operations of the preset ``paper`` beside the published ones (docs/method.md, section 7), as Markdown.

    python tests/bench/published.py          seconds: nothing is computed, no memory is taken

Published figures are of CoCosNet's network, which has no self-correlation map: the map's are in columns of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mcltool.core.config import ModelConfig, resolve
from mcltool.model.build import make_discriminator, make_network

SIZE = (256, 256)


@dataclass(frozen=True)
class Row:
    """A network and what was published of it: millions of parameters, GFLOP an image; None where nothing was.

    planes: of its conditions. changed: what its model has otherwise than the preset.
    """

    name: str
    planes: int
    generator: float
    correspondence: float
    discriminator: float | None = None
    gflop: float | None = None
    changed: tuple[tuple[str, object], ...] = ()


FASHION = (("mix_condition", False), ("values", "patches"))
ROWS = (
    Row("ADE20K", 151, 96.66, 59.32, 6.86, 1083),
    Row("CelebA-HQ edges, parts", 15, 92.6, 51.4),
    Row("CelebA-HQ masks", 19, 92.7, 51.6),
    Row("DeepFashion", 20, 92.7, 50.9, changed=FASHION),
)
KERNEL_4 = (
    Row("CelebA-HQ edges, kernel 4", 15, 92.6, 51.4, changed=(("encoder_kernel", 4),)),
    Row("DeepFashion, kernel 4", 20, 92.7, 50.9, changed=(*FASHION, ("encoder_kernel", 4))),
)
"""The same with the kernel that the published commands name, of which no sizes were published."""


def model_of(row: Row, with_map: bool = False) -> ModelConfig:
    """The preset's, with what the row has otherwise."""
    preset = replace(resolve("ade20k", "paper").model, **dict(row.changed))  # type: ignore[arg-type]
    return preset if with_map else replace(preset, scm_channels=0)


def parameters(row: Row, with_map: bool = False) -> tuple[float, float, float]:
    """Millions of generator, correspondence and discriminator."""
    model = model_of(row, with_map)
    with torch.device("meta"):
        net, discriminator = make_network(model, row.planes, SIZE), make_discriminator(model, row.planes)
    G = _millions(net.generator)
    return G, _millions(net) - G, _millions(discriminator)


def operations(row: Row, with_map: bool = False) -> float:
    """GFLOP to translate one image, an addition and a multiplication being two."""
    with FakeTensorMode(), torch.no_grad():
        net = make_network(model_of(row, with_map), row.planes, SIZE)
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, row.planes, *SIZE), torch.zeros(1, 3, *SIZE))
    return counter.get_total_flops() / 1e9


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def _beside(ours: float, published: float | None) -> str:
    return f"{ours:.2f}" if published is None else f"{ours:.2f} / {published:g} ({ours / published - 1:+.1%})"


def main() -> None:
    print("ours / published (difference)\n")
    heads = "generator M|correspondence M|discriminator M|GFLOP an image|correspondence with the map M|GFLOP with it"
    print(f"| | {' | '.join(heads.split('|'))} |\n|{'---|' * 7}")
    for row in (*ROWS, *KERNEL_4):
        G, C, D = parameters(row)
        cells = [
            _beside(G, row.generator),
            _beside(C, row.correspondence),
            _beside(D, row.discriminator),
            _beside(operations(row), row.gflop),
            f"{parameters(row, with_map=True)[1]:.2f}",
            f"{operations(row, with_map=True):.2f}",
        ]
        print(f"| {row.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
