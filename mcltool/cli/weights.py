"""``mcltool export``: a model for programs that know nothing of mcltool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mcltool.cli.options import FILE, threads_option
from mcltool.cli.program import Commands


@click.group("weights", cls=Commands)
def weights_group() -> None:
    """Weights files."""


@weights_group.command("show")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole configuration.")
def weights_show(file: Path, as_json: bool) -> None:
    """Show what a weights file is: its data set, training size, steps, classes and checksum."""
    from mcltool.core.weights import summary

    found = summary(file)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    condition = found.pop("condition")
    found["preset"] = found.pop("config")["preset"]
    found["size"] = "x".join(map(str, found["size"]))
    found["condition"] = f"{len(condition['names'])} {condition['kind']}: {', '.join(condition['names'])}"
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):<16} {value}")


@weights_group.command("get")
@click.argument("name", type=click.Choice(["vgg19", "alexnet", "inception"]))
@click.option("--url", metavar="URL", help="A mirror of the file.  [default: its publisher's own address]")
def weights_get(name: str, url: str | None) -> None:
    """Download a network that training's losses or evaluate's metrics look through.

    \b
    vgg19      perceptual losses; style relevance and semantic consistency   torchvision's, 575 MB
    alexnet    LPIPS                                                         torchvision's, 244 MB
    inception  FID and KID                                                   torch-fidelity's, 95 MB

    The file's checksum is compared with the published one. What is needed of it goes to
    $MCLTOOL_HOME/weights (default: ~/.cache/mcltool/weights), where fit and evaluate find it.

    \b
    Examples:
      mcltool weights get vgg19
      mcltool weights get vgg19 --url https://mirror.example/vgg19-dcbb9e9d.pth
    """
    from mcltool.core.pretrained import get_weights

    click.echo(f"weights: {get_weights(name, url)}")


@weights_group.command("convert")
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, metavar="FILE", help="Where to.  [default: where it is looked for]")
def weights_convert(file: Path, out: Path | None) -> None:
    """Convert one of weights get's networks from a .pth FILE on disk, for machines that cannot download.

    FILE is read as data alone: no code in it is run. Which network it is is told by what it holds.

    \b
    Example:
      mcltool weights convert ~/Downloads/vgg19-dcbb9e9d.pth
    """
    from mcltool.core.pretrained import convert_weights

    click.echo(f"weights: {convert_weights(file, out)[1]}")


@click.command(short_help="Write a model as one ONNX or torch.export file, to run without mcltool.")
@click.argument("file", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["torch-export", "onnx"]),
    help="What to write.  [default: by OUT's suffix, .pt2 or .onnx]",
)
@click.option("--size", metavar="S|HxW", help="Of condition and exemplar, in pixels.  [default: as trained]")
@threads_option
def export(file: Path, out: Path, form: Any, size: str | None) -> None:
    """Write the model of the weights FILE to OUT, for programs without mcltool.

    The graph takes bytes and gives bytes: condition (B, H, W) uint8 labels (or B, K, H, W float32 channels),
    exemplar and image (B, H, W, 3) uint8 RGB, for any B. What was written is run and compared with the model
    before it takes its place. FILE is one that mcltool fit wrote; published CoCosNet checkpoints are not loaded.

    \b
    Examples:
      mcltool export runs/ade20k-1/weights.safetensors ade20k.onnx
      mcltool export runs/ade20k-1/weights.safetensors ade20k.pt2 --size 256x384
    """
    from mcltool.core.config import parse_size

    wanted = parse_size(size) if size else None

    from mcltool.tools.export import TOLERANCE
    from mcltool.tools.export import export as write

    made = write(file, out, form, wanted)
    click.echo(f"{out}: {made.form}, {out.stat().st_size / 1e6:,.1f} MB")
    click.echo(f"condition {made.condition}, exemplar {made.exemplar} -> image {made.exemplar}")
    click.echo(
        f"difference to the model, on random inputs: at most {made.most} of 255 levels, mean {made.mean:.5f} "
        f"({TOLERANCE} is allowed)"
    )
