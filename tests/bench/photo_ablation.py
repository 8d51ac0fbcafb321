"""What each part of the correspondence brings on photographs: correspondence-only runs of equal steps on a pack.

    python tests/bench/photo_ablation.py run ccpcrop.h5 128x64 [--steps 150] [--seeds 1]    one JSON a run
    python tests/bench/photo_ablation.py table                              mean and spread as Markdown

Everything but the named settings is preset ``small``. The warped exemplar is scored on 64 held-out conditions, each
with the photo of another sample, by mcltool.evaluate.picture; "class match" is the share of positions where most of
what is warped there has the condition's class, among classes that the exemplar has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from mcltool.core.device import autocast
from mcltool.core.files import write_text
from mcltool.core.weights import load_model
from mcltool.data.batch import HostBatch
from mcltool.data.dataset import EvaluationData
from mcltool.evaluate.picture import measure
from mcltool.model.correspondence import attention_warp
from mcltool.plugin import registry
from mcltool.train.objective import class_shares, known_shares

RESULTS = Path(__file__).parent / "results" / "real" / "ablation"
PAIRS, BATCH = 64, 8
VARIANTS: dict[str, dict[str, Any]] = {
    "reference (m 0.25, weight 0.1, SCM)": {},
    "no contrast": {"loss.mcl": 0},
    "InfoNCE (m 0)": {"loss.mcl_margin": 0},
    "weight 1": {"loss.mcl": 1},
    "SCM off": {"model.scm_channels": 0},
    "no retrieved exemplars": {"data.exemplar_self": 1},
}
COLUMNS = ("class_match", "vary", "layout", "style", "detail", "patch")


def run(pack: Path, size: str, steps: int, seeds: int) -> None:
    for seed in range(seeds):
        for name, settings in VARIANTS.items():
            out = RESULTS / f"{pack.stem}-{name.split(' (')[0].replace(' ', '-')}-{seed}.json"
            if out.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                weights = train(pack, size, steps, seed, settings, Path(folder))
                scores = score(pack, weights)
            result = {
                "variant": name,
                "data": pack.stem,
                "size": size,
                "steps": steps,
                "seed": seed,
                **scores,
            }
            write_text(out, json.dumps(result, indent=1) + "\n")
            print(result, flush=True)


def train(pack: Path, size: str, steps: int, seed: int, settings: dict[str, Any], folder: Path) -> Path:
    fixed = {"train.generator_start": 1.0, "train.gan_start": 1.0, "train.validation_samples": 0}
    options = [f"--set={name}={value}" for name, value in (fixed | settings).items()]
    command = [sys.executable, "-m", "mcltool", "fit", "--data", pack, "--preset", "small", "--size", size]
    command += ["--max-steps", steps, "--seed", seed, "--run", folder / "run", *options]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run" / "weights.safetensors"


def score(pack: Path, weights: Path) -> dict[str, float]:
    net, header = load_model(weights)
    plugin = registry.load_packed(pack)
    samples = plugin.index(None, "val")[:PAIRS]
    others = [samples[(i + len(samples) // 2) % len(samples)] for i in range(len(samples))]
    data = EvaluationData(plugin, samples, header.config.data, others)
    batch = data.arrive(HostBatch.of(map(data.item, range(len(samples))), len(samples)))
    K = plugin.spec.channels
    warped, matches = [], []
    with torch.inference_mode(), autocast(torch.device("cpu"), "bf16"):
        for part in torch.split(torch.arange(len(samples)), BATCH):
            Z = batch.exemplar[part]
            warped.append(net(batch.condition[part], Z).warped.float())
            u, v = net.condition_features(batch.condition[part]), net.photo_features(Z)
            theirs = class_shares(batch.exemplar_condition[part], K)
            wanted = known_shares(class_shares(batch.condition[part], K), theirs, plugin.spec.unknown)
            found = attention_warp(u, v, theirs, net.temperature).float()
            right = found.argmax(2) == wanted.argmax(2)
            matches.append(right[wanted.amax(2) > 0.5])
    images = [
        x.permute(0, 2, 3, 1).numpy()
        for x in (torch.cat(warped) / 2 + 0.5, batch.target / 2 + 0.5, batch.exemplar / 2 + 0.5)
    ]
    labels = [x.numpy().astype("int64") for x in (batch.condition, batch.exemplar_condition)]
    scores = measure(*images, *labels) | {"class_match": float(torch.cat(matches).float().mean())}
    return {name: round(float(value), 4) for name, value in scores.items()}


def table() -> None:
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    print(f"| data | variant | seeds | steps | {' | '.join(COLUMNS)} |\n|{'---|' * (4 + len(COLUMNS))}")
    for data in sorted({one["data"] for one in found}):
        for variant in VARIANTS:
            runs = [one for one in found if (one["data"], one["variant"]) == (data, variant)]
            if runs:
                cells = [spread([one[name] for one in runs]) for name in COLUMNS]
                print(f"| {data} | {variant} | {len(runs)} | {runs[0]['steps']} | {' | '.join(cells)} |")


def spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("pack", type=Path)
    runs.add_argument("size")
    runs.add_argument("--steps", type=int, default=150)
    runs.add_argument("--seeds", type=int, default=1)
    commands.add_parser("table")
    args = parser.parse_args()
    if args.command == "table":
        table()
    else:
        run(args.pack, args.size, args.steps, args.seeds)


if __name__ == "__main__":
    main()
