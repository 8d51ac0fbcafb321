"""What each part of the correspondence brings, on ``shapes``: correspondence-only runs of equal steps.

    python tests/bench/ablation.py run [--seeds 3] [--only NAME] [--steps 400]   one JSON a run; made ones are kept
    python tests/bench/ablation.py run --size 256 --device cuda                  the same on a GPU, into ablation-256
    python tests/bench/ablation.py table [--size 256]                            mean and spread as Markdown

Everything but the named settings is preset ``tiny``. Scores are those of the demo, on held-out pairs of the averaged
weights; psnr and L1 are of the warped exemplar against the exact answer where its source shows.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mcltool_shapes.plugin import VIEWS, ShapesPlugin
from mcltool_shapes.scene import Scene, draw_scene

from mcltool.core.config import resolve
from mcltool.core.files import write_text
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.evaluate.pairs import held_out_pairs, score
from mcltool.model.network import MCLNet
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import Sample
from mcltool.train.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
SIZE = 64
PAIRS = 64
REFERENCE = {"loss.mcl": 0.1, "train.generator_start": 1.0, "data.workers": 0}
"""The reference run. Its L_mcl weighs ten times the published 0.01, so that its own settings can make a difference."""
VARIANTS: dict[str, dict[str, Any]] = {
    "reference (m 0.25, all N, SCM)": {},
    "no contrast": {"loss.mcl": 0.0},
    "weight 0.01": {"loss.mcl": 0.01},
    "weight 1": {"loss.mcl": 1.0},
    "InfoNCE (m 0)": {"loss.mcl_margin": 0.0},
    "m 0.1": {"loss.mcl_margin": 0.1},
    "m 0.4": {"loss.mcl_margin": 0.4},
    "64 sampled positions": {"loss.mcl_positions": 64},
    "image side detached": {"loss.mcl_detach_photo": True},
    "SCM off": {"model.scm_channels": 0},
    "SCM off, no contrast": {"model.scm_channels": 0, "loss.mcl": 0.0},
    "position known": {"model.position": True},
    "temperature 0.01": {"model.temperature": 0.01},
    "three times the steps": {"train.max_steps": 1200},
    "three times the steps, SCM off": {"train.max_steps": 1200, "model.scm_channels": 0},
    "three times the steps, no contrast": {"train.max_steps": 1200, "loss.mcl": 0.0},
    "three times the steps, InfoNCE (m 0)": {"train.max_steps": 1200, "loss.mcl_margin": 0.0},
    "alike layouts": {},
    "alike layouts, SCM off": {"model.scm_channels": 0},
    "alike layouts, no contrast": {"loss.mcl": 0.0},
    "alike layouts, no contrast, SCM off": {"loss.mcl": 0.0, "model.scm_channels": 0},
}
ALIKE = "alike layouts"
"""Variants named so train and are scored on pairs whose layouts resemble each other, as faces and bodies do."""
COLUMNS = {
    "class_match": "class match",
    "match_error": "match error (radii)",
    "psnr_warp_db": "psnr of the warp (dB)",
    "l1_warp": "L1 of the warp",
    "step_ms": "step (ms, median)",
}
HALVES = {
    "class_match_features": "class match by x^ alone",
    "class_match_map": "by S^ alone",
    "match_error_features": "match error by x^ alone",
    "match_error_map": "by S^ alone",
}
"""Where u = [x^, S^] has both halves: what each finds alone."""


class AlikeShapes(ShapesPlugin):
    """``shapes`` whose views of one style are one layout, each shape moved by up to 0.08 of the image's side."""

    def _scene(self, sample: Sample) -> Scene:
        split, _, number = sample.id.partition("/")
        group = draw_scene((self.seed, len(split), int(number) // VIEWS, 2))
        moves = np.random.default_rng((self.seed, len(split), int(number), 3)).uniform(
            -0.08, 0.08, (len(group), 2)
        )
        return tuple(
            dataclasses.replace(shape, x=shape.x + dx, y=shape.y + dy)
            for shape, (dx, dy) in zip(group, moves.tolist(), strict=True)
        )


def run(name: str, seed: int, steps: int, size: int, device: torch.device) -> dict[str, float]:
    """Train one variant and score it."""
    plugin = AlikeShapes() if name.startswith(ALIKE) else plugins.load("shapes")
    asked = {"train.max_steps": steps, "train.seed": seed, "data.size": (size, size)}
    config = resolve("shapes", "tiny", REFERENCE | asked | VARIANTS[name])
    steps = config.train.max_steps or steps
    data = TrainingData(plugin, plugin.index(None, "train"), config.data, seed)
    trainer = Trainer(config, plugin.spec, device, "fp32", steps)
    times = []
    stream = SampleStream(0, steps, 0, 1, config.train.batch_size)
    for batch in training_loader(data, stream, 8 if device.type == "cuda" else 0, "cpu"):
        start = time.perf_counter()
        trainer.step(batch)
        times.append(time.perf_counter() - start)
    side = config.data.size[0]
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), PAIRS, side)
    exemplars = [plugin.photo(pair.exemplar, side) for pair in pairs]
    scores, warped = score(trainer.average, plugin, pairs, exemplars, side)
    for part, net in _halves(trainer.average).items():
        alone, _ = score(net, plugin, pairs, exemplars, side)
        scores |= {f"{key}_{part}": alone[key] for key in ("class_match", "match_error", "psnr_warp_db")}
    l1 = [
        np.abs(w.astype(float) - p.truth.image)[p.truth.visible].mean() / 255
        for w, p in zip(warped, pairs, strict=True)
    ]
    return scores | {"l1_warp": float(np.mean(l1)), "step_ms": 1000 * statistics.median(times)}


def _halves(net: MCLNet) -> dict[str, MCLNet]:
    """The net matching by x^ alone and by S^ alone, where it has both: which half of u carries the match."""
    if net.correspondence.scm is None:
        return {}
    channels = net.encode_condition.head[-1].out_channels
    halves = {}
    for part, kept in (("features", slice(None, channels)), ("map", slice(channels, None))):
        halves[part] = copy.deepcopy(net)
        halves[part].correspondence = _Half(net.correspondence, kept)
    return halves


class _Half(torch.nn.Module):
    def __init__(self, whole: torch.nn.Module, kept: slice) -> None:
        super().__init__()
        self.whole, self.kept = whole, kept

    def forward(self, x_BChw: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.whole(x_BChw)[:, :, self.kept], dim=2)


def _results(size: int) -> Path:
    return RESULTS / ("ablation" if size == SIZE else f"ablation-{size}")


def table(columns: dict[str, str], size: int) -> str:
    """Mean and standard deviation over the seeds of every variant that has results with these ``columns``."""
    lines = [f"| variant | seeds | {' | '.join(columns.values())} |", "|---" * (len(columns) + 2) + "|"]
    for name in VARIANTS:
        found = [
            json.loads(path.read_text()) for path in sorted(_results(size).glob(f"{_slug(name)}-seed*.json"))
        ]
        if not found or not columns.keys() <= found[0]["scores"].keys():
            continue
        cells = []
        for key in columns:
            values = [row["scores"][key] for row in found]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "-" for c in name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=list(VARIANTS))
    options = parser.parse_args()
    if options.what == "table":
        print(table(COLUMNS, options.size), table(HALVES, options.size), sep="\n\n")
        return
    for seed in range(options.seeds):
        for name in [options.only] if options.only else VARIANTS:
            path = _results(options.size) / f"{_slug(name)}-seed{seed}.json"
            if path.exists():
                continue
            scores = run(name, seed, options.steps, options.size, torch.device(options.device))
            row = {"variant": name, "seed": seed, "steps": options.steps, "scores": scores}
            write_text(path, json.dumps(row, indent=2) + "\n")
            print(name, seed, {key: round(scores[key], 3) for key in COLUMNS}, flush=True)


if __name__ == "__main__":
    main()
