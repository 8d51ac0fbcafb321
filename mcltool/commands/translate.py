"""translate-dir: a folder of conditions into photos."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.commands.options import DEVICE_HELP, FILE, FOLDER, PRECISION


@click.command("translate-dir", short_help="Translate a folder of conditions into photos.")
@click.argument("conditions", type=FOLDER)
@click.argument("exemplars", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--weights",
    type=FILE,
    metavar="FILE",
    help="Weights file.  [default: the newest runs/*/weights.safetensors below the working folder]",
)
@click.option(
    "--pair",
    type=click.Choice(["auto", "stem", "one", "cycle"]),
    default="auto",
    help="Which exemplar a condition gets. stem: the one of the same relative path without suffix, else the "
    "only one of its base name; one: the only exemplar there is; cycle: in turn, sorted by name; auto: stem "
    "where every condition has one, else one.  [default: auto]",
)
@click.option(
    "--canvas",
    metavar="HxW",
    help="Height and width in pixels of the pictures that poses belong to, where their files do not say it.  "
    "[default: the data set's own]",
)
@click.option("--precision", type=PRECISION, default="auto", help="Number format.  [default: auto]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
def translate_dir(
    conditions: Path,
    exemplars: Path,
    out: Path,
    weights: Path | None,
    pair: str,
    canvas: str | None,
    precision: str,
    device: str | None,
) -> int:
    """Translate every condition below CONDITIONS, in the style of a photo below EXEMPLARS, into OUT.

    OUT mirrors the folders of CONDITIONS, with one PNG a condition: of the condition's own aspect, its short
    side as long as in training. OUT/manifest.jsonl has one line an input: ok, skipped or failed with the
    cause. Run it again to finish what is missing; what is done with the same weights is left alone.

    Exit code: 0 all done, 1 some failed, 2 the request cannot be carried out, 130 interrupted.

    \b
    Examples:
      mcltool translate-dir masks/ style.d/ out/              one photo in style.d: the style of all
      mcltool translate-dir masks/ photos/ out/               masks/a/1.png with photos/a/1.jpg
      mcltool translate-dir masks/ photos/ out/ --pair cycle  photos in turn
    """
    from mcltool.weights import newest_weights

    if weights is None:
        weights = newest_weights(Path.cwd())
        click.echo(f"weights: {weights}", err=True)

    from mcltool.config import parse_size
    from mcltool.translate.job import translate_dir as start
    from mcltool.translate.progress import show

    pixels = parse_size(canvas, "--canvas") if canvas else None
    failed = show(start(conditions, exemplars, out, weights, pair, precision, device, pixels), out)
    return 1 if failed else 0
