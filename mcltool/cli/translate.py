"""``mcltool translate`` and ``explain``: one condition."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcltool.cli import options
from mcltool.cli.options import PATH
from mcltool.core.errors import UsageError

if TYPE_CHECKING:
    from mcltool.translate.exemplars import Exemplar


def _output_size(_: click.Context, __: click.Parameter, given: str | None) -> Any:
    from mcltool.translate.settings import parse_output_size

    return parse_output_size(given) if given else "trained"


def _words(_: click.Context, __: click.Parameter, given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))


def model_options(command: options.Command) -> options.Command:
    """The options of both commands."""
    for option in (
        options.threads,
        options.labels,
        options.device,
        click.option(
            "--precision",
            type=options.PRECISION,
            default="auto",
            help="Number format; auto: the fastest here, or that of the job being resumed.  [default: auto]",
        ),
        options.canvas,
        click.option(
            "--save",
            metavar="KINDS",
            default="",
            callback=_words,
            help="Extra pictures for each result, separated by commas: warp (the warped exemplar), grid (condition, "
            "exemplar, warp and result side by side), confidence (how sure the match is at each place).",
        ),
        click.option(
            "--size",
            metavar="keep|S|HxW",
            callback=_output_size,
            help="Size of the results in pixels: S is the short side; HxW is the whole picture, for conditions of that "
            "aspect; keep is each condition's own size. The network works at this size too.  [default: the short side "
            "of the training]",
        ),
        click.option(
            "--provenance/--no-provenance",
            default=True,
            help="Record in each picture that it is generated, by which weights and from what (PNG text, EXIF, XMP).  "
            "[default: provenance]",
        ),
        click.option(
            "--quality",
            type=int,
            metavar="1-100",
            help="Quality of jpg (default 95), webp (90) and avif (80).",
        ),
        options.weights,
    ):
        command = option(command)
    return command


exemplar_option = click.option(
    "--exemplar",
    "exemplars",
    multiple=True,
    metavar="PHOTO[:WEIGHT][@WHERE]",
    help="Instead of EXEMPLAR; repeat it to combine several photos. WEIGHT: relative to the others, 1 if not given. "
    "WHERE: class names with ; between them, or a grey picture that is white where this photo may be used.",
)


def parse_paths(paths: tuple[Path, ...], exemplars: tuple[str, ...]) -> tuple[Path, list[Exemplar], Path]:
    """Condition, exemplars and output of CONDITION [EXEMPLAR] OUT and ``exemplar_option``. Raises UsageError."""
    from mcltool.translate.exemplars import Exemplar

    if len(paths) != (2 if exemplars else 3):
        raise UsageError(
            "expected CONDITION EXEMPLAR OUT, or CONDITION OUT and --exemplar PHOTO once or more"
        )
    condition, *single, out = paths
    return condition, [*map(Exemplar, single), *map(Exemplar.parse, exemplars)], out


@click.command("translate", short_help="Translate one condition into a photo.")
@click.argument("paths", type=PATH, nargs=-1, metavar="CONDITION [EXEMPLAR] OUT")
@exemplar_option
@click.option(
    "--morph",
    type=click.IntRange(2),
    metavar="N",
    help="With two --exemplar: N pictures OUT-1 to OUT-N, from the first one's style to the second's.",
)
@model_options
def translate(
    paths: tuple[Path, ...],
    exemplars: tuple[str, ...],
    morph: int | None,
    device: str | None,
    weights: str | None,
    labels: str,
    provenance: bool,
    **given: Any,
) -> None:
    """Translate the file CONDITION, in the style of the photo EXEMPLAR, into the picture OUT.

    The suffix of OUT says its format: .png, .jpg, .webp or .avif.

    \b
    Examples:
      mcltool translate mask.png style.jpg result.png
      mcltool translate mask.png style.jpg result.jpg --size keep --save grid
      mcltool translate mask.png result.png --exemplar day.jpg --exemplar dusk.jpg:0.5
      mcltool translate mask.png result.png --exemplar a.jpg --exemplar "b.jpg@sky;tree"
      mcltool translate mask.png way.png --exemplar day.jpg --exemplar dusk.jpg --morph 7
    """
    from mcltool.translate.api import translate_file
    from mcltool.translate.settings import Settings, format_of

    condition, chosen, out = parse_paths(paths, exemplars)
    file = options.chosen_weights(weights)
    settings = Settings(
        format=format_of(out.suffix), batch_size=1, labels=options.labels_for(file, labels), **given
    )
    tell = partial(click.echo, err=True)
    for path in translate_file(condition, chosen, out, file, settings, device, provenance, tell, morph):
        click.echo(path)


def _places(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[tuple[int, int]]:
    found = []
    for text in given:
        try:
            x, y = (int(number) for number in text.split(","))
        except ValueError:
            raise UsageError(f"--at {text}: expected X,Y in whole pixels, e.g. --at 120,80") from None
        found.append((x, y))
    return found


@click.command(short_help="Show in one picture how the model matches a pair.")
@click.argument("paths", type=PATH, nargs=-1, metavar="CONDITION [EXEMPLAR] OUT.png")
@exemplar_option
@options.weights
@click.option(
    "--at",
    "places",
    multiple=True,
    callback=_places,
    metavar="X,Y",
    help="A place to look at, in pixels of the condition; repeatable.  [default: five, on different classes]",
)
@click.option("--part", default="", metavar="NAME", help="Which condition, where the file holds several.")
@options.canvas
@options.labels
@options.device
@options.threads
def explain(
    paths: tuple[Path, ...],
    exemplars: tuple[str, ...],
    weights: str | None,
    places: list[tuple[int, int]],
    part: str,
    canvas: options.Size,
    labels: str,
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
    file = options.chosen_weights(weights)
    labels = options.labels_for(file, labels)

    from mcltool.tools.explain import explain as draw

    if len(chosen) > 1:
        from mcltool.tools.explain_several import explain_several

        if places:
            raise UsageError("--at works with one exemplar: leave it out, or give one --exemplar")
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
