"""The presets ``base`` and ``paper`` against each other on ``shapes``, as twins of a quarter of their widths at 64 px.

    python tests/bench/twins.py run [--steps 400] [--seeds 0 1 2]   one JSON a run; made ones are kept
    python tests/bench/twins.py table                               mean and spread as Markdown

Everything of a preset's model but its widths stays; schedule, losses and temperature are those of ``tiny``, since the
published ones take days, and a batch is 4. ``base, equal time`` trains more steps, by the ratio of the median steps.
Times are processor seconds of one thread, which a shared machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mcltool.core.config import resolve
from mcltool.core.files import write_text
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.evaluate.pairs import held_out_pairs, score
from mcltool.model.network import MCLNet
from mcltool.plugin import registry as plugins
from mcltool.train.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "twins"
SIZE, BATCH, PAIRS, SCALE = 64, 4, 64, 4
TWINS = {
    "paper": "paper",
    "base": "base",
    "base, equal time": "base",
    "paper before": "paper",
    "hd": "hd",
    "hd before": "paper",
}
"""Runs by name, each the twin of a preset."""
_BEFORE = {"network": "lean", "values": "patches", "mix_condition": False}
CHANGED: dict[str, dict[str, Any]] = {
    "paper before": _BEFORE,
    "hd before": {
        **_BEFORE,
        "encoder_widths": (32, 64, 128, 256, 256),
        "generator_widths": (32, 64, 128, 256, 512, 512),
        "spade_hidden": 64,
    },
}
"""What a run's twin has otherwise than the preset: ``paper`` was the lean network, ``hd`` that of these widths."""
COLUMNS = {
    "class_match": "class match",
    "match_error": "match error (radii)",
    "psnr_warp_db": "psnr of the warp (dB)",
    "psnr_db": "psnr of the image (dB)",
    "steps": "steps",
    "step_s": "s a step (median)",
    "training_s": "s in all",
}


def twin(name: str) -> dict[str, Any]:
    """The model settings of a run's preset with widths divided by SCALE, and the temperature of ``tiny``."""
    model = replace(resolve("shapes", TWINS[name]).model, **CHANGED.get(name, {}))
    scaled = {
        name: tuple(width // SCALE for width in getattr(model, name))
        for name in ("encoder_widths", "generator_widths", "discriminator_widths")
    } | {
        name: getattr(model, name) // SCALE
        for name in ("condition_embedding", "feature_channels", "scm_channels", "spade_hidden")
    }
    names = (
        "network",
        "values",
        "mix_condition",
        "encoder_kernel",
        "encoder_stem",
        "spade_kernel",
        "spade_shared",
    )
    kept = {name: getattr(model, name) for name in names}
    return {f"model.{name}": value for name, value in (scaled | kept).items()}


def run(name: str, seed: int, steps: int) -> dict[str, float]:
    """Train one twin and score it."""
    plugin = plugins.load("shapes")
    asked = {
        "train.max_steps": steps,
        "train.seed": seed,
        "train.batch_size": BATCH,
        "data.size": (SIZE, SIZE),
    }
    config = resolve("shapes", "tiny", asked | twin(name))
    data = TrainingData(plugin, plugin.index(None, "train"), config.data, seed)
    trainer = Trainer(config, plugin.spec, torch.device("cpu"), "fp32", steps)
    times = []
    for batch in training_loader(data, SampleStream(0, steps, 0, 1, config.train.batch_size), 0, "cpu"):
        start = time.process_time()
        trainer.step(batch)
        times.append(time.process_time() - start)
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), PAIRS, SIZE)
    images = [
        translated(trainer.average, pair.truth.labels, plugin.photo(pair.exemplar, SIZE)) for pair in pairs
    ]
    scores, _ = score(trainer.average, plugin, pairs, images, SIZE)
    return scores | {
        "steps": steps,
        "step_s": statistics.median(times),
        "training_s": sum(times),
        "mparameters": sum(p.numel() for p in trainer.net.parameters()) / 1e6,
        "gflop_an_image": operations(trainer.average) / 1e9,
    }


def translated(net: MCLNet, labels: Any, exemplar: Any) -> Any:
    X, Z = torch.from_numpy(labels)[None], to_unit(torch.from_numpy(exemplar.copy()).permute(2, 0, 1)[None])
    with torch.inference_mode():
        return to_bytes(net(X, Z).image)[0].permute(1, 2, 0).numpy()


def operations(net: MCLNet) -> int:
    X, Z = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8), torch.zeros(1, 3, SIZE, SIZE)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(X, Z)
    return counter.get_total_flops()


def kept(name: str) -> list[dict[str, Any]]:
    """Scores of the runs of ``name`` that were made."""
    found = sorted(RESULTS.glob(f"{name.replace(', ', '-').replace(' ', '-')}-seed*.json"))
    return [json.loads(path.read_text())["scores"] for path in found]


def table() -> str:
    lines = [f"| twin of | seeds | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in TWINS:
        rows, cells = kept(name), []
        if not rows:
            continue
        for key in COLUMNS:
            values = [row[key] for row in rows]
            spread = f" ± {statistics.stdev(values):.3f}" if len(set(values)) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}".removesuffix(".000") + spread)
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", nargs="+", choices=list(TWINS), default=list(TWINS), metavar="NAME")
    options = parser.parse_args()
    if options.what == "table":
        print(table())
        return
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.only:
            path = RESULTS / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}.json"
            if path.exists():
                continue
            steps = options.steps
            if name.endswith("equal time"):
                paper, base = (statistics.median(row["step_s"] for row in kept(n)) for n in ("paper", "base"))
                steps = round(steps * paper / base)
            scores = run(name, seed, steps)
            write_text(path, json.dumps({"twin": name, "seed": seed, "scores": scores}, indent=2) + "\n")
            print(name, seed, {key: round(scores[key], 3) for key in COLUMNS}, flush=True)


if __name__ == "__main__":
    main()
