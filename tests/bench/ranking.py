"""Whether evaluate puts a trained model over an untrained one over noise, on the held-out split of shapes.

    python tests/bench/ranking.py --weights weights/shapes.safetensors          a table, and a JSON file

"untrained" is the same network before its first step; "noise" is even over all bytes. style and semantic look
through random filters here, since the weights of VGG-19 cannot be downloaded
everywhere; give --perceptual vgg where they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "evaluate" / "ranking.json"
METRICS = (
    "swd", "psnr", "ssim", "class_match", "match_error", "semantic", "style_colour", "style_texture",
)  # fmt: skip


def run(*arguments: str | Path) -> dict[str, Any]:
    """The scores that a command prints with --json."""
    from click.testing import CliRunner

    from mcltool.cli.main import cli

    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def make_untrained(weights: Path, path: Path) -> None:
    import torch

    from mcltool.core.weights import read_header, save_weights
    from mcltool.model.build import make_network

    header = read_header(weights)
    torch.manual_seed(0)
    network = make_network(header.config.model, header.condition.channels, header.size)
    save_weights(path, network.state_dict(), header)


def make_noise(outputs: Path, folder: Path) -> None:
    """A picture of noise for each of ``outputs``, of its size."""
    import numpy as np
    from PIL import Image

    for number, path in enumerate(sorted(outputs.rglob("*.png"))):
        with Image.open(path) as image:
            size = (image.height, image.width, 3)
        noise = np.random.default_rng(number).integers(0, 256, size, np.uint8)
        target = folder / path.relative_to(outputs)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--perceptual", default="random")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--keep", type=Path, help="Copy the trained model's evaluation, with its report, here."
    )
    options = parser.parse_args()
    from mcltool.evaluate.metrics import number_of

    common = ["--perceptual", options.perceptual]
    with tempfile.TemporaryDirectory() as scratch:
        trained, untrained, noise = (Path(scratch) / name for name in ("trained", "untrained", "noise"))
        noise.mkdir()
        count = ["--count", str(options.count)]
        scores = {"trained": run("--weights", options.weights, *count, "--to", trained, *common)}
        make_untrained(options.weights, Path(scratch) / "untrained.safetensors")
        file = Path(scratch) / "untrained.safetensors"
        scores["untrained"] = run("--weights", file, *count, "--to", untrained, *common)
        make_noise(trained / "out", noise)
        folders = ["--real", trained / "real", "--exemplars", trained / "exemplars"]
        scores["noise"] = run(noise, *folders, "--to", Path(scratch) / "noise-scores", *common)
        if options.keep:
            shutil.copytree(trained, options.keep)
    means = {name: {key: s["value"] for key, s in found["scores"].items()} for name, found in scores.items()}
    print("| metric | better | trained | untrained | noise |\n|---|---|---|---|---|")
    for metric in METRICS:
        cells = [f"{means[name][metric]:.4g}" if metric in means[name] else "" for name in means]
        print(f"| {metric} | {number_of(metric).better} | {' | '.join(cells)} |")
    document = {"pairs": options.count, "perceptual": options.perceptual, "scores": means}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
