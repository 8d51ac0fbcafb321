"""What ``mcltool evaluate`` takes by the number of pairs at 64 px, each run in a process of its own.

Seconds, seconds of CPU (on a shared machine the steadier number) and peak resident memory.

    python tests/bench/evaluate.py                        500, 1000 and 2000 pairs; a table, and a JSON file
    python tests/bench/evaluate.py --counts 100 --metrics swd,psnr

Outputs are pictures of shapes with noise. Inception, AlexNet and VGG-19 have random weights, which cost what the
published ones do; the numbers they give mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "evaluate" / "all.json"
METRICS = "fid,kid,swd,lpips,psnr,ssim,semantic,style,diversity"


def make_pictures(folder: Path, count: int) -> None:
    import numpy as np
    from mcltool_shapes import ShapesPlugin
    from PIL import Image

    plugin = ShapesPlugin()
    samples = plugin.index(None, "train")[:count]
    for name in ("real", "out", "other", "exemplars"):
        (folder / name).mkdir()
    for number, sample in enumerate(samples):
        photo = plugin.photo(sample, 64)
        rng = np.random.default_rng(number)
        for name, deviation in (("real", 0.0), ("out", 20.0), ("other", 30.0), ("exemplars", 5.0)):
            noisy = photo + rng.normal(0, deviation, photo.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:05d}.png")


def make_networks(home: Path) -> None:
    """Random weights where evaluate looks for the published ones."""
    from unittest.mock import patch

    import torch
    import torchvision
    from safetensors.torch import save_file
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from mcltool.core.pretrained import NETWORKS
    from mcltool.model.vgg import random_vgg

    with (
        patch.object(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None),
        patch.object(torch, "load", lambda *_, **__: None),
    ):
        inception = FeatureExtractorInceptionV3("inception", ["2048"], "nowhere")
    made = {"inception": inception, "alexnet": torchvision.models.alexnet(), "vgg19": random_vgg()}
    (home / "weights").mkdir(parents=True)
    for name, network in made.items():
        tensors = {key: value for key, value in network.state_dict().items() if "classifier" not in key}
        save_file(tensors, home / "weights" / NETWORKS[name].file)


def measure(folder: Path, home: Path, metrics: str) -> dict[str, float]:
    """Wall-clock seconds and peak resident memory of one run in a new process."""
    command = [sys.executable, __file__, "--cell", str(folder), metrics]
    environment = os.environ | {"MCLTOOL_HOME": str(home)}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return {"seconds": round(time.perf_counter() - started, 1), **json.loads(done.stdout.splitlines()[-1])}


def cell(folder: Path, metrics: str) -> None:
    from click.testing import CliRunner

    from mcltool.cli.main import cli

    folders = ["--real", folder / "real", "--exemplars", folder / "exemplars", "--other", folder / "other"]
    arguments = ["evaluate", folder / "out", *folders, "--metrics", metrics, "--device", "cpu"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "mib": used.ru_maxrss // 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--metrics", default=METRICS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cell", nargs=2, metavar=("DIR", "METRICS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        cell(Path(options.cell[0]), options.cell[1])
        return
    rows = []
    print("| pairs | s | s of CPU | peak MiB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        make_networks(home)
        for count in options.counts:
            folder = Path(scratch) / str(count)
            folder.mkdir()
            make_pictures(folder, count)
            rows.append({"pairs": count, **measure(folder, home, options.metrics)})
            print("| {pairs} | {seconds} | {cpu_seconds} | {mib} |".format(**rows[-1]), flush=True)
    document = {
        "size": 64,
        "metrics": options.metrics.split(","),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
