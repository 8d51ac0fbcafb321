"""``mcltool export``: a model for programs that know nothing of mcltool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcltool.commands.options import FILE, threads_option


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
    from mcltool.config import parse_size

    wanted = parse_size(size) if size else None

    from mcltool.export import TOLERANCE
    from mcltool.export import export as write

    made = write(file, out, form, wanted)
    click.echo(f"{out}: {made.form}, {out.stat().st_size / 1e6:,.1f} MB")
    click.echo(f"condition {made.condition}, exemplar {made.exemplar} -> image {made.exemplar}")
    click.echo(
        f"difference to the model, on random inputs: at most {made.most} of 255 levels, mean {made.mean:.5f} "
        f"({TOLERANCE} is allowed)"
    )
