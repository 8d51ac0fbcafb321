"""Peak memory of correspondence + L_mcl, forward and backward, against the literal N x N version.

    python tests/bench/memory.py          a table on the CPU, each cell in a process of its own
    python tests/bench/memory.py --cuda   the same on a GPU, by the allocator's own peak

The features u, v, y are leaves of D = 512 numbers (C 256 + 256 of the self-correlation map); values are 48 wide.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys

COUNTS = (1024, 4096, 16384)
WIDTH, VALUES = 512, 48
MIB = 2**20


def measure(kind: str, count: int, device: str) -> dict[str, float]:
    """Peak bytes over what the inputs and their gradients take, and seconds, of one forward and backward."""
    import resource
    import time

    import torch
    import torch.nn.functional as F

    from mcltool.model.correspondence import attention_warp
    from mcltool.model.losses import cosine_with_margin, marginal_contrastive

    torch.manual_seed(0)
    u, v, y = (
        F.normalize(torch.randn(1, count, WIDTH, device=device), dim=2).requires_grad_() for _ in range(3)
    )
    values = torch.rand(1, count, VALUES, device=device)
    for leaf in (u, v, y):
        leaf.grad = torch.zeros_like(leaf)

    def streamed() -> torch.Tensor:
        return attention_warp(u, v, values, 0.01).abs().mean() + marginal_contrastive(u, y, 0.25, 20.0)

    def literal() -> torch.Tensor:
        warped = ((u @ v.transpose(1, 2)) / 0.01).softmax(2) @ values
        cosines = u @ y.transpose(1, 2)
        eye = torch.eye(count, dtype=torch.bool, device=device)
        logits = 20.0 * torch.where(eye, cosine_with_margin(cosines, 0.25), cosines)
        target = torch.arange(count, device=device)[None]
        rows = F.cross_entropy(logits, target)
        return warped.abs().mean() + 0.5 * (rows + F.cross_entropy(logits.transpose(1, 2), target))

    run = streamed if kind == "streamed" else literal
    small = [
        t[:, :64].detach().requires_grad_() for t in (u, v, y)
    ]  # kernels and threads are warm, pages are not
    attention_warp(small[0], small[1], values[:, :64], 0.01).sum().backward()
    marginal_contrastive(small[0], small[2], 0.25, 20.0).backward()
    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = (
        torch.cuda.memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    start = time.perf_counter()
    run().backward()
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    after = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {"bytes": after - before, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--cell", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = "cuda" if options.cuda else "cpu"
    if options.cell:
        print(json.dumps(measure(options.cell[0], int(options.cell[1]), device)))
        return
    print("| N | streamed (MiB) | s | literal (MiB) | s |\n|---|---|---|---|---|")
    peaks = []
    for count in COUNTS:
        row = []
        for kind in ("streamed", "literal"):
            command = [
                sys.executable,
                __file__,
                "--cell",
                kind,
                str(count),
                *(["--cuda"] if options.cuda else []),
            ]
            row.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        peaks.append(row[0]["bytes"])
        cells = " | ".join(f"{cell['bytes'] / MIB:.0f} | {cell['seconds']:.2f}" for cell in row)
        print(f"| {count} | {cells} |", flush=True)
    x, y = [math.log(n) for n in COUNTS], [math.log(max(1, p)) for p in peaks]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    print(f"log-log slope of the streamed peak: {slope:.2f}")


if __name__ == "__main__":
    main()
