"""``mcltool explain``: what the model sees."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.cli.options import (
    DEVICE_HELP,
    FILE,
    WEIGHTS,
    WEIGHTS_HELP,
    Canvas,
    canvas_option,
    chosen_weights,
    exemplar_option,
    labels_for,
    labels_option,
    parse_paths,
    threads_option,
)


@click.command(short_help="Show in one picture how the model matches a pair.")
@click.argument("paths", type=FILE, nargs=-1, metavar="CONDITION [EXEMPLAR] OUT.png")
@exemplar_option
@click.option("--weights", metavar=WEIGHTS, help=WEIGHTS_HELP)
@click.option(
    "--at",
    multiple=True,
    metavar="X,Y",
    help="A place to look at, in pixels of the condition; repeatable.  [default: five, on different classes]",
)
@click.option("--part", default="", metavar="NAME", help="Which condition, where the file holds several.")
@canvas_option
@labels_option
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
def explain(
    paths: tuple[Path, ...],
    exemplars: tuple[str, ...],
    weights: str | None,
    at: tuple[str, ...],
    part: str,
    canvas: Canvas,
    device: str | None,
) -> None:
    """Draw how the model matches CONDITION with EXEMPLAR, and its output, into OUT.png.

    The picture has the condition, the exemplar, the warped exemplar, the result and how sure each match is; and
    for some marked places, where in the exemplar their colours come from, and the self-correlation map: how
    alike all other places are to them. With several --exemplar it has which of them gave each place its colours.

    \b
    Examples:
      mcltool explain masks/1.png photos/1.jpg seen.png
      mcltool explain masks/1.png photos/1.jpg seen.png --weights w.safetensors --at 120,80 --at 40,200
      mcltool explain masks/1.png seen.png --exemplar day.jpg --exemplar dusk.jpg@sky
    """
    condition, chosen, out = parse_paths(paths, exemplars)
    places = [_place(text) for text in at]
    file = chosen_weights(weights)
    labels = labels_for(file)

    from mcltool.tools.explain import explain as draw

    if len(chosen) > 1:
        from mcltool.core.errors import UsageError
        from mcltool.tools.explain_several import explain_several

        if places:
            raise UsageError("--at: looks at one exemplar; leave it out, or give one --exemplar")
        shares = explain_several(condition, chosen, out, file, part, device, canvas, labels)
        for exemplar, share in zip(chosen, shares, strict=True):
            click.echo(f"{exemplar.label(str(exemplar.path))}: {share:.1%} of the warped exemplar")
        click.echo(f"look at {out}")
        return
    for spot in draw(condition, Path(chosen[0].path), out, file, places, part, device, canvas, labels):
        match = f"{spot.match_x},{spot.match_y}"
        place = f"{spot.x},{spot.y} {spot.name}"
        click.echo(f"{place:<28} -> {match:<12} cosine {spot.cosine:.3f}  probability {spot.probability:.3f}")
    click.echo(f"look at {out}")


def _place(text: str) -> tuple[int, int]:
    from mcltool.core.errors import UsageError

    try:
        x, y = (int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"--at {text}: expected X,Y in whole pixels, e.g. --at 120,80") from None
    return x, y
