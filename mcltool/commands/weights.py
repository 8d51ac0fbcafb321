"""``mcltool weights``: what a weights file is, and the networks that losses and metrics look through."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mcltool.program import Commands

FILE = click.Path(path_type=Path)


@click.group("weights", cls=Commands)
def weights_group() -> None:
    """Weights files."""


@weights_group.command("show")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole configuration.")
def weights_show(file: Path, as_json: bool) -> None:
    """Show what a weights file is: its data set, training size, steps, classes and checksum."""
    from mcltool.weights import summary

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
    from mcltool.feature_weights import get_weights

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
    from mcltool.feature_weights import convert_weights

    click.echo(f"weights: {convert_weights(file, out)[1]}")
