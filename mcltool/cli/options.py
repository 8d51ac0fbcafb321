"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mcltool.core.threads import use_threads

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)
DEVICE_HELP = "Where to compute: cuda, cuda:1, mps or cpu.  [default: the fastest there is]"
WEIGHTS = "FILE|RUN|NAME|hf://ORG/NAME[@REVISION]"
"""What names weights; see ``core.weights.find_weights``."""
WEIGHTS_HELP = (
    "Weights: a file, a run folder, a name of 'mcltool weights list', or a repository on the Hugging Face Hub.  "
    "[default: the newest runs/*/weights.safetensors below the working folder; where there is none, "
    "those that come with mcltool, for the made-up data set shapes]"
)
Canvas = tuple[int, int] | None
PRECISION = click.Choice(["auto", "bf16", "fp16", "fp32"])

Command = TypeVar("Command", bound=Callable[..., Any])


def threads_option(command: Command) -> Command:
    """--threads, which takes effect by itself: before torch is loaded, which reads the number from the environment."""

    def take(_: click.Context, __: click.Parameter, given: str) -> None:
        if given.isdecimal() and int(given):
            use_threads(int(given))
        elif given != "auto":
            raise click.BadParameter(f"{given}: must be a number from 1 on, or auto")

    return click.option(
        "--threads",
        metavar="N|auto",
        default="auto",
        expose_value=False,
        callback=take,
        help="Threads that compute, at most one a core; auto: $OMP_NUM_THREADS, else one for each core that this "
        "process may use.  [default: auto]",
    )(command)


def canvas_option(command: Command) -> Command:
    """--canvas, as (height, width) or None."""

    def parse(_: click.Context, __: click.Parameter, given: str | None) -> Canvas:
        from mcltool.core.config import parse_size

        return parse_size(given, "--canvas") if given else None

    return click.option(
        "--canvas",
        metavar="HxW",
        callback=parse,
        help="Height and width in pixels of the pictures that poses were found in, where their files do not say "
        "it.  [default: the data set's own]",
    )(command)


def chosen_weights(given: str | None) -> Path:
    """--weights, or what is taken without it, which is then named on screen."""
    from mcltool.core.index import shipped_folder
    from mcltool.core.weights import default_weights, find_weights

    if given is not None:
        return find_weights(given)
    found = default_weights(Path.cwd())
    shipped = (
        f"{found.name}, which comes with mcltool, for its made-up data set shapes (mcltool fit trains others)"
    )
    click.echo(f"weights: {shipped if found.parent == shipped_folder() else found}", err=True)
    return found


def complete_plugins(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: names of plugins that begin so; none is imported."""
    from mcltool.plugin.registry import names

    return [name for name in names() if name.startswith(begun)]


def complete_presets(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: names of presets that begin so."""
    from mcltool.core.presets import PRESETS

    return [name for name in PRESETS if name.startswith(begun)]
