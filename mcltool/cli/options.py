"""What several commands share: the way groups answer, options, and what is made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from mcltool.core.errors import UsageError, did_you_mean
from mcltool.core.process import cores, use_threads

if TYPE_CHECKING:
    from mcltool.core.config import DataConfig
    from mcltool.plugin.contract import DatasetPlugin, Sample

PATH = click.Path(path_type=Path)
PRECISION = click.Choice(["auto", "bf16", "fp16", "fp32"])
WEIGHTS = "FILE|RUN|NAME|hf://ORG/NAME[@REVISION]"
"""What names weights; see ``core.lookup.find_weights``."""
Size = tuple[int, int] | None
"""(height, width) in pixels."""
Command = TypeVar("Command", bound=Callable[..., Any])


class Commands(click.Group):
    """A group that shows its help when called without a command, and suggests names for a mistyped one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (name.startswith("-") or name in self.commands or ctx.resilient_parsing):
            hint = did_you_mean(name, self.commands)
            raise UsageError(f"no command {name!r}{hint}; there are {', '.join(sorted(self.commands))}")
        return super().resolve_command(ctx, args)


# --- options: ``from mcltool.cli import options``, then ``@options.device`` ---


def json(help: str = "Print JSON.") -> Callable[[Command], Command]:
    """--json, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def size(name: str, help: str, metavar: str = "S|HxW") -> Callable[[Command], Command]:
    """An option that takes a size, as (height, width) or None."""

    def parse(_: click.Context, __: click.Parameter, given: str | None) -> Size:
        from mcltool.core.config import parse_size

        return parse_size(given, name) if given else None

    return click.option(name, metavar=metavar, callback=parse, help=help)


def threads(command: Command) -> Command:
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
        help="Threads to compute with, at most one per core; auto: $OMP_NUM_THREADS, else one per core that this "
        "process may use.  [default: auto]",
    )(command)


def complete_plugins(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: names of plugins that begin so; none is imported."""
    from mcltool.plugin.registry import names

    return [name for name in names() if name.startswith(begun)]


device = click.option(
    "--device",
    metavar="NAME",
    help="Where to compute: cuda, cuda:1, mps or cpu.  [default: the fastest there is]",
)
weights = click.option(
    "--weights",
    metavar=WEIGHTS,
    help="Weights: a file, a run folder, a name of 'mcltool weights list', or a repository on the Hugging Face Hub.  "
    "shapes: those shipped with mcltool, for its synthetic data set.  "
    "[default: the newest runs/*/weights.safetensors below the working folder]",
)
split = click.option("--split", type=click.Choice(["train", "val"]), help="Only this split.  [default: both]")
readers = click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    callback=lambda context, option, given: cores() if given is None else given,
    help="Reader processes; 0: this process reads.  [default: one per core]",
)
pack = click.option(
    "--data",
    "pack",
    type=PATH,
    metavar="FILE.h5",
    help="A pack (mcltool pack) instead of --plugin and --root.",
)
canvas = size(
    "--canvas",
    "Height and width in pixels of the pictures that poses were found in, if their files do not say.  "
    "[default: the data set's own]",
    "HxW",
)
labels = click.option(
    "--labels",
    metavar="NUMBERING",
    default="",
    help="How label files are numbered, if not as the data set itself numbers them (standard). ade20k: zero-based (0 "
    "is wall, 150 or 255 unknown). celebahq-mask: bisenet (the face-parsing network's), cocosnet.",
)
exif = click.option(
    "--exif/--no-exif",
    default=None,
    help="Rotate photos and label maps as their EXIF orientation says, or use them as stored.  "
    "[default: rotate them, and say how many]",
)
condition = click.option(
    "--condition",
    metavar="NAME,...",
    default="",
    help="For a folder of your own: which conditions to use; if it has none, edges are drawn from the photos.  "
    "[default: those in DIR/dataset.toml, else all there are]",
)

# --- the data set ---


class Data(NamedTuple):
    """Which data set, and how to read it: --plugin, --root, --condition, --canvas, --labels and --exif."""

    plugin: str | None
    root: Path | None
    condition: str
    canvas: Size
    labels: str
    exif: bool | None

    def open(self, pack: Path | None = None) -> tuple[DatasetPlugin, Path | None]:
        """The data set and its folder. What was taken for granted of it is said on stderr."""
        from mcltool.cli.tables import working
        from mcltool.data.reading import unread
        from mcltool.plugin.registry import load_data, use_reading

        with working(f"looking at {self.root or self.plugin}"):
            dataset, root = load_data(self.plugin, self.root, pack, self.condition)
        use_reading(dataset, self.labels, self.exif, self.canvas)
        if os.environ.get("RANK", "0") != "0":
            return dataset, root
        if root is not None and (line := unread(root)):
            click.echo(line, err=True)
        if dataset.assumed:
            click.echo(f"{root}: not described yet; taken for", err=True)
            for line in dataset.assumed:
                click.echo(f"  {line}", err=True)
            click.echo(f"'mcltool data describe {root}' writes this to a file, to be corrected", err=True)
        return dataset, root


def data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of Data, which the command gets as ``data``."""

    @wraps(command)
    def gathered(**given: Any) -> Any:
        return command(data=Data(**{name: given.pop(name) for name in Data._fields}), **given)

    plugin = click.option(
        "--plugin",
        metavar="NAME",
        shell_complete=complete_plugins,
        help="Data set; 'mcltool plugins list' shows them all.  [default: folder, for your own data, if --root is "
        "given]",
    )
    root = click.option(
        "--root",
        type=PATH,
        metavar="DIR",
        help="Folder of the unpacked data set, or of your own data.  [default: $MCLTOOL_DATA/PLUGIN]",
    )
    return plugin(root(condition(canvas(labels(exif(gathered))))))


def say_doubts(dataset: DatasetPlugin, *splits: Sequence[Sample]) -> None:
    """Say on stderr what makes a few samples of each split look as if they were read wrongly."""
    from mcltool.data.reading import doubts_among

    for samples in splits:
        for line in doubts_among(dataset, samples):
            click.echo(f"doubtful: {line}", err=True)


def training(dataset: DatasetPlugin) -> DataConfig:
    """How the data set is trained where nothing else is asked for."""
    from mcltool.core.config import resolve

    return resolve(dataset.name, dataset.preset, dataset.defaults).data


# --- weights ---


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


def labels_for(weights: Path, given: str) -> str:
    """--labels, for conditions to translate.

    Raises UsageError where it was not given and the model was trained on label files that were numbered otherwise.
    """
    from mcltool.core.weights import read_header

    trained = read_header(weights).config.data.labels
    if not given and trained not in ("", "standard"):
        raise UsageError(
            f"{weights}: trained on label files numbered {trained}; are these too? --labels {trained} (or standard)"
        )
    return given
