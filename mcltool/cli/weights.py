"""``mcltool weights`` and ``export``: files of weights, and models for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mcltool.cli import options
from mcltool.cli.options import PATH


@click.group("weights", cls=options.Commands)
def weights_group() -> None:
    """Weights files."""


@weights_group.command("show")
@click.argument("name", metavar=options.WEIGHTS)
@options.json("Print JSON, with the whole configuration.")
def weights_show(name: str, as_json: bool) -> None:
    """Show what a weights file is: its data set, training size, steps, classes and checksum."""
    from mcltool.core.lookup import find_weights
    from mcltool.core.weights import summary

    found = summary(find_weights(name))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    condition = found.pop("condition")
    found["preset"] = found.pop("config")["preset"]
    found["size"] = "x".join(map(str, found["size"]))
    found["condition"] = f"{len(condition['names'])} {condition['kind']}: {', '.join(condition['names'])}"
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):<16} {value}")


INDEX = click.option(
    "--index", metavar="URL|FILE", help="Another index.  [default: the one that comes with mcltool]"
)


@weights_group.command("list")
@INDEX
def weights_list(index: str | None) -> None:
    """List weights available by name: models, and networks for losses and metrics."""
    from mcltool.cli.tables import show_table
    from mcltool.core.index import read_index

    found = read_index(index).items()
    rows = [(name, f"{entry.megabytes:g}", entry.license, entry.card) for name, entry in found]
    show_table(("name", "MB", "license", "card"), rows)


@weights_group.command("get")
@click.argument("name")
@INDEX
@click.option("--url", metavar="URL", help="A mirror of the file.  [default: its publisher's own address]")
def weights_get(name: str, index: str | None, url: str | None) -> None:
    """Download weights by name: a model, or a network used by losses or metrics.

    \b
    vgg19      perceptual losses; style relevance and semantic consistency   torchvision's, 575 MB
    alexnet    LPIPS                                                         torchvision's, 244 MB
    inception  FID and KID                                                   torch-fidelity's, 95 MB

    'mcltool weights list' shows all names. The file's SHA-256 is compared with the published one. It goes to
    $MCLTOOL_HOME/weights (default: ~/.cache/mcltool/weights), where every command finds it by its name.

    \b
    Examples:
      mcltool weights get vgg19
      mcltool weights get vgg19 --url https://mirror.example/vgg19-dcbb9e9d.pth
      mcltool weights get gardens --index https://lab.example/index.json
    """
    from mcltool.core.convert import get_weights

    click.echo(f"weights: {get_weights(name, url, index)}")


@weights_group.command("convert")
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, metavar="FILE", help="Output file.  [default: where mcltool looks for it]")
def weights_convert(file: Path, out: Path | None) -> None:
    """Convert one of weights get's networks from a .pth FILE on disk, for machines that cannot download.

    FILE is read as data alone: no code in it is run. The network is recognised by its tensors.

    \b
    Example:
      mcltool weights convert ~/Downloads/vgg19-dcbb9e9d.pth
    """
    from mcltool.core.convert import convert_weights

    click.echo(f"weights: {convert_weights(file, out)}")


@click.command(short_help="Write weights as a folder for a model hub, with a model card.")
@click.argument("weights", metavar="RUN|FILE")
@click.argument("out", type=PATH, metavar="DIR")
@click.option(
    "--samples",
    type=PATH,
    metavar="DIR",
    help="Translate the first six of DIR/conditions with photos of DIR/exemplars, for a picture in the card.",
)
@click.option(
    "--license",
    default="unknown",
    metavar="ID",
    help="Of the weights, such as apache-2.0.  [default: unknown]",
)
@click.option("--half", is_flag=True, help="Store the weights as 16-bit floats: half the size.")
@click.option("--push", metavar="ORG/NAME", help="Upload DIR to the Hugging Face Hub.  [needs mcltool[hub]]")
def publish(
    weights: str, out: Path, samples: Path | None, license: str, half: bool, push: str | None
) -> None:
    """Write the weights of RUN (or FILE) to a new folder DIR: model.safetensors, config.json, README.md, SHA256SUMS.

    README.md is a model card: what the model is for, its classes, recipe, scores (those of 'mcltool evaluate
    --weights RUN', if it was run) and limits. Every --weights takes DIR, and after --push hf://ORG/NAME.

    \b
    Examples:
      mcltool publish runs/gardens-1 gardens --license cc-by-4.0
      mcltool publish runs/gardens-1 gardens --samples examples/ --push lab/gardens
    """
    from mcltool.core import hub
    from mcltool.core.errors import McltoolError
    from mcltool.core.lookup import find_weights

    if push:
        hub.check_push(push)

    from mcltool.tools.publish import publish as write

    card = write(find_weights(weights), out, license, samples, push or "", half)
    click.echo(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    for missing, remedy in card.gaps():
        click.echo(f"the card says: {missing} ({remedy})", err=True)
    if push:
        try:
            click.echo(hub.push(out, push))
        except McltoolError as error:
            raise McltoolError(f"{error}; the folder is there: 'hf upload {push} {out}' sends it") from None


@click.command(short_help="Write a model as one ONNX or torch.export file, to run without mcltool.")
@click.argument("weights", metavar="FILE", type=str)
@click.argument("out", type=PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["torch-export", "onnx"]),
    help="What to write.  [default: by OUT's suffix, .pt2 or .onnx]",
)
@options.size("--size", "Of condition and exemplar, in pixels.  [default: as trained]")
@click.option(
    "--exemplars",
    metavar="E",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Exemplars that act together on a condition; with several the graph takes their weights too.",
)
@options.threads
def export(weights: str, out: Path, form: Any, size: options.Size, exemplars: int) -> None:
    """Write the model of the weights FILE to OUT, for programs without mcltool.

    The graph takes bytes and gives bytes: condition (B, H, W) uint8 labels (or B, K, H, W float32 channels),
    exemplar and image (B, H, W, 3) uint8 RGB, for any B. The exported file is run and compared with
    the model before it is put in place. FILE is what --weights takes elsewhere: a file, a run folder or a name;
    published CoCosNet checkpoints are not loaded.

    \b
    Examples:
      mcltool export runs/ade20k-1/weights.safetensors ade20k.onnx
      mcltool export runs/ade20k-1/weights.safetensors ade20k.pt2 --size 256x384
    """
    from mcltool.cli.tables import working

    click.echo(f"exporting to {out} and comparing with the model: about a minute", err=True)
    with working("exporting"):
        from mcltool.core.lookup import find_weights
        from mcltool.tools.export import TOLERANCE
        from mcltool.tools.export import export as write

        made = write(find_weights(weights), out, form, size, exemplars)
    click.echo(f"{out}: {made.form}, {out.stat().st_size / 1e6:,.1f} MB")
    inputs = ", ".join(f"{name} {what}" for name, what in made.inputs.items())
    click.echo(f"{inputs} -> image {made.image}")
    click.echo(
        f"difference to the model, on random inputs: at most {made.most} of 255 levels, mean {made.mean:.5f} "
        f"({TOLERANCE} is allowed)"
    )
