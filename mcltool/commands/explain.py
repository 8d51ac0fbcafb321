"""``mcltool explain``: a picture of what the model sees."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.commands.options import DEVICE_HELP, FILE, WEIGHTS_HELP, chosen_weights, threads_option


@click.command(short_help="Show in one picture what the model sees in a pair.")
@click.argument("condition", type=FILE)
@click.argument("exemplar", type=FILE)
@click.argument("out", type=FILE, metavar="OUT.png")
@click.option("--weights", type=FILE, metavar="FILE", help=WEIGHTS_HELP)
@click.option(
    "--at",
    multiple=True,
    metavar="X,Y",
    help="A place to look at, in pixels of the condition; repeatable.  [default: five, on different classes]",
)
@click.option("--part", default="", metavar="NAME", help="Which condition, where the file holds several.")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
def explain(
    condition: Path,
    exemplar: Path,
    out: Path,
    weights: Path | None,
    at: tuple[str, ...],
    part: str,
    device: str | None,
) -> None:
    """Draw what the model sees in CONDITION and EXEMPLAR, and what it makes of them, into OUT.png.

    The picture has the condition, the exemplar, the warped exemplar, the result and how sure each match is; and
    for some marked places, where in the exemplar their colours come from, and the self-correlation map: how
    alike all other places are to them.

    \b
    Examples:
      mcltool explain masks/1.png photos/1.jpg seen.png
      mcltool explain masks/1.png photos/1.jpg seen.png --weights w.safetensors --at 120,80 --at 40,200
    """
    places = [_place(text) for text in at]
    weights = chosen_weights(weights)

    from mcltool.explain import explain as draw

    for spot in draw(condition, exemplar, out, weights, places, part, device):
        match = f"{spot.match_x},{spot.match_y}"
        place = f"{spot.x},{spot.y} {spot.name}"
        click.echo(f"{place:<28} -> {match:<12} cosine {spot.cosine:.3f}  probability {spot.probability:.3f}")
    click.echo(f"look at {out}")


def _place(text: str) -> tuple[int, int]:
    from mcltool.errors import UsageError

    try:
        x, y = (int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"--at {text}: expected X,Y in whole pixels, e.g. --at 120,80") from None
    return x, y
