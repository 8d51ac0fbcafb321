"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mcltool.core.process import use_threads

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)
DEVICE_HELP = "Where to compute: cuda, cuda:1, mps or cpu.  [default: the fastest there is]"
WEIGHTS = "FILE|RUN|NAME|hf://ORG/NAME[@REVISION]"
"""What names weights; see ``core.lookup.find_weights``."""
WEIGHTS_HELP = (
    "Weights: a file, a run folder, a name of 'mcltool weights list', or a repository on the Hugging Face Hub.  "
    "shapes: those shipped with mcltool, for its synthetic data set.  "
    "[default: the newest runs/*/weights.safetensors below the working folder]"
)
Canvas = tuple[int, int] | None

PLUGIN = click.option(
    "--plugin",
    metavar="NAME",
    shell_complete=lambda *given: complete_plugins(*given),
    help="Data set; mcltool plugins list names them.  [default: folder, a folder of your own, where --root is given]",
)
ROOT = click.option(
    "--root",
    type=FOLDER,
    metavar="DIR",
    help="Folder that the data set was unpacked to, or of your own data.  [default: $MCLTOOL_DATA/PLUGIN]",
)
CONDITION = click.option(
    "--condition",
    metavar="NAME,...",
    default="",
    help="Of a folder of your own, the conditions to take; edges are drawn from the photos where there are none.  "
    "[default: what DIR/dataset.toml says, else all there are]",
)
PRECISION = click.Choice(["auto", "bf16", "fp16", "fp32"])

if TYPE_CHECKING:
    from mcltool.plugin.contract import DatasetPlugin, Sample
    from mcltool.translate.exemplars import Exemplar

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


def _keep(context: click.Context, option: click.Parameter, given: Any) -> None:
    context.meta[f"mcltool.{option.name}"] = given


labels_option = click.option(
    "--labels",
    metavar="NUMBERING",
    expose_value=False,
    callback=_keep,
    help="How label files are numbered, where it is not the data set's own way (standard). ade20k: zero-based (0 is "
    "wall, 150 or 255 unknown). celebahq-mask: bisenet (the face-parsing network's), cocosnet.",
)
"""--labels, which ``reading`` gives."""
exif_option = click.option(
    "--exif/--no-exif",
    default=None,
    expose_value=False,
    callback=_keep,
    help="Turn photos and label maps as their EXIF orientation says, or take them as they are stored.  "
    "[default: turn them, and say how many]",
)
"""--exif, which ``reading`` gives."""


def reading() -> dict[str, Any]:
    """What was given of --labels and --exif."""
    meta = click.get_current_context().meta
    return {
        name: meta[f"mcltool.{name}"]
        for name in ("labels", "exif")
        if meta.get(f"mcltool.{name}") is not None
    }


def labels_for(weights: Path) -> str:
    """--labels, for conditions to translate.

    Raises UsageError where it was not given and the model was trained on label files that were numbered otherwise.
    """
    from mcltool.core.errors import UsageError
    from mcltool.core.weights import read_header

    given = reading().get("labels", "")
    trained = read_header(weights).config.data.labels
    if not given and trained not in ("", "standard"):
        raise UsageError(
            f"{weights}: trained on label files numbered {trained}; are these too? --labels {trained} (or standard)"
        )
    return str(given)


def data_options(command: Command) -> Command:
    """--plugin, --root, --condition, --canvas, --labels and --exif, which ``open_dataset`` takes."""
    return PLUGIN(ROOT(CONDITION(canvas_option(labels_option(exif_option(command))))))


def open_dataset(
    plugin: str | None, root: Path | None, condition: str, canvas: Canvas, pack: Path | None = None
) -> tuple[DatasetPlugin, Path | None]:
    """The data set that the options name, and its folder. What was taken for granted of it is said on stderr."""
    from mcltool.cli.tables import working
    from mcltool.data.reading import unread
    from mcltool.plugin.registry import load_data, use_canvas, use_reading

    with working(f"looking at {root or plugin}"):
        dataset, root = load_data(plugin, root, pack, condition)
    use_canvas(dataset, canvas)
    use_reading(dataset, **reading())
    if root is not None and os.environ.get("RANK", "0") == "0" and (line := unread(root)):
        click.echo(line, err=True)
    if dataset.assumed and os.environ.get("RANK", "0") == "0":
        click.echo(f"{root}: not described yet; taken for", err=True)
        for line in dataset.assumed:
            click.echo(f"  {line}", err=True)
        click.echo(f"'mcltool data describe {root}' writes this to a file, to be corrected", err=True)
    return dataset, root


def say_doubts(dataset: DatasetPlugin, *splits: Sequence[Sample]) -> None:
    """Say on stderr what makes a few samples of each split look as if they were read wrongly."""
    from mcltool.data.reading import doubts_among

    for samples in splits:
        for line in doubts_among(dataset, samples):
            click.echo(f"doubtful: {line}", err=True)


def chosen_weights(given: str | None) -> Path:
    """--weights, or what is taken without it, which is then named on screen."""
    from mcltool.core.lookup import default_weights, find_weights, newer_checkpoint

    if given is not None:
        return find_weights(given)
    found = default_weights(Path.cwd())
    click.echo(f"weights: {found}", err=True)
    if newer := newer_checkpoint(Path.cwd(), found):
        click.echo(f"not taken: a newer run that is not finished (--weights {newer.parent})", err=True)
    return found


def complete_plugins(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: names of plugins that begin so; none is imported."""
    from mcltool.plugin.registry import names

    return [name for name in names() if name.startswith(begun)]


def complete_presets(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: names of presets that begin so."""
    from mcltool.core.presets import PRESETS

    return [name for name in PRESETS if name.startswith(begun)]


exemplar_option = click.option(
    "--exemplar",
    "exemplars",
    multiple=True,
    metavar="PHOTO[:WEIGHT][@WHERE]",
    help="Instead of EXEMPLAR, as often as you like: they act together. WEIGHT: relative to the others' 1. WHERE: "
    "classes between ;, or a grey picture that is white where this photo may serve.",
)


def parse_paths(paths: tuple[Path, ...], exemplars: tuple[str, ...]) -> tuple[Path, list[Exemplar], Path]:
    """Condition, exemplars and output of CONDITION [EXEMPLAR] OUT and ``exemplar_option``. Raises UsageError."""
    from mcltool.core.errors import UsageError
    from mcltool.translate.exemplars import Exemplar

    if len(paths) != (2 if exemplars else 3):
        raise UsageError(
            "expected CONDITION EXEMPLAR OUT, or CONDITION OUT and --exemplar PHOTO once or more"
        )
    condition, *single, out = paths
    return condition, [*map(Exemplar, single), *map(Exemplar.parse, exemplars)], out
