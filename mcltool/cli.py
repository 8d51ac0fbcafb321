"""The command line: parse, build a configuration, call one function. Commands import what they need inside.

A command returns its exit code, or None for 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mcltool
from mcltool.commands.data import data_group
from mcltool.commands.explain import explain
from mcltool.commands.plugins import plugins_group
from mcltool.commands.weights import weights_group
from mcltool.program import Program

if TYPE_CHECKING:
    from mcltool.config import Config
    from mcltool.data.contract import DatasetPlugin

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)
DEVICE_HELP = "Where to compute: cuda, cuda:1, mps or cpu.  [default: the fastest there is]"
PRECISION = click.Choice(["auto", "bf16", "fp16", "fp32"])


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="mcltool COMMAND --help explains each command, with examples.",
)
@click.version_option(mcltool.__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Exemplar-guided image translation with MCL-Net: what a condition shows, in the style of a photo.

    A condition is a label map, a pose or an edge drawing; an exemplar is any photo of the wanted style.

    \b
    mcltool demo                                see it work: trains a small model and shows what it does
    mcltool fit --plugin ade20k --root DIR      train on a data set
    mcltool translate-dir masks/ photos/ out/   turn a folder of conditions into photos
    """


@cli.command(short_help="Train a model on a data set.")
@click.option("--plugin", required=True, metavar="NAME", help="Data set; mcltool plugins list names them.")
@click.option(
    "--root",
    type=FOLDER,
    metavar="DIR",
    help="Folder that the data set was unpacked to.  [default: $MCLTOOL_DATA/PLUGIN]",
)
@click.option("--size", metavar="S|HxW", help="Training size in pixels, multiples of 32: 256, or 256x192.")
@click.option(
    "--preset",
    metavar="NAME",
    help="Sizes of the networks: tiny (64 px, for a CPU), paper (256 px, as published) or hd (512 px).  "
    "[default: the data set's own; tiny for shapes, else paper]",
)
@click.option("--max-steps", type=int, metavar="N", help="Stop after N steps.  [default: as epochs make]")
@click.option("--batch-size", type=int, metavar="B", help="Samples a step.  [default: the preset's]")
@click.option("--run", type=FOLDER, metavar="DIR", help="Run folder.  [default: runs/PLUGIN-N, the next N]")
@click.option("--out", type=FILE, metavar="FILE", help="Weights file.  [default: RUN/weights.safetensors]")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option(
    "--precision",
    type=PRECISION,
    help="Number format of the networks' products.  [default: auto, bf16 or fp16 where it is faster]",
)
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@click.option(
    "--perceptual",
    type=click.Choice(["auto", "vgg", "random", "none"]),
    help="Network of the perceptual and contextual losses.  [default: auto, none for tiny, else vgg]",
)
@click.option("--workers", type=int, metavar="N", help="Processes that load data; 0: none.  [default: 2]")
@click.option("--config", type=FILE, metavar="FILE", help="TOML file with sections model, loss, data, train.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; repeatable."
)
def fit(
    plugin: str,
    root: Path | None,
    size: str | None,
    preset: str | None,
    run: Path | None,
    out: Path | None,
    device: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    **flags: int | str | None,
) -> None:
    """Train a model on a data set and write its weights, with all that translate-dir needs, to one file.

    What wins: an option, then --set, then --config, then the data set's own defaults, then the preset. The
    run folder gets the resolved config.json, metrics.jsonl, sample pictures and at last weights.safetensors.

    \b
    Examples:
      mcltool fit --plugin shapes --max-steps 500
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --batch-size 4
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --preset tiny --size 64 --max-steps 1000
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --config mine.toml --set loss.mcl=0.05
    """
    from mcltool import plugins
    from mcltool.config import parse_size

    dataset = plugins.load(plugin)
    given = {_ADDRESSES[name]: value for name, value in flags.items() if value is not None}
    size_given = {"data.size": parse_size(size)} if size else {}
    resolved = _fit_config(dataset, preset, config, settings, given | size_given)

    from mcltool.train.display import show
    from mcltool.train.fit import fit as train

    root = plugins.data_root(dataset, root)
    weights = train(dataset, resolved, root, run or _next_run(Path("runs"), plugin), out, device, show)
    click.echo(f"weights: {weights}")


_ADDRESSES = {
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "precision": "train.precision",
    "perceptual": "train.perceptual",
    "workers": "data.workers",
}


def _fit_config(
    plugin: DatasetPlugin,
    preset: str | None,
    file: Path | None,
    settings: Sequence[str],
    flags: dict[str, Any],
) -> Config:
    from mcltool.config import parse_setting, read_toml, resolve

    from_file = read_toml(file) if file else {}
    chosen = preset or from_file.pop("preset", plugin.preset)
    from_file.pop("preset", None)
    return resolve(plugin.name, chosen, plugin.defaults, from_file, dict(map(parse_setting, settings)), flags)


def _next_run(folder: Path, name: str) -> Path:
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"


@cli.command("translate-dir", short_help="Translate a folder of conditions into photos.")
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


@cli.command(short_help="Train a small model on made-up shapes and show what it does.")
@click.option("--out", type=FOLDER, default="demo", metavar="DIR", help="Where all goes.  [default: demo/]")
@click.option(
    "--steps", type=int, metavar="N", help="Training steps.  [default: what fits 5 minutes on a CPU]"
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
def demo(out: Path, steps: int | None, seed: int, device: str | None) -> None:
    """See the whole road in minutes, with nothing to download: train, translate, score.

    Trains the tiny model on the procedural data set shapes, writes conditions and exemplars it has not seen
    to OUT/conditions and OUT/exemplars, runs translate-dir on them and compares with the exact answers in
    OUT/truth. Look at OUT/contact_sheet.png; the scores are in OUT/metrics.json.

    \b
    Examples:
      mcltool demo
      mcltool demo --out /tmp/demo --steps 200
    """
    from mcltool.demo import run_demo
    from mcltool.train.display import show

    metrics = run_demo(out, steps, seed, device, show)
    for name, value in metrics.items():
        click.echo(f"{name:>24} {value:g}")
    click.echo(f"look at {out / 'contact_sheet.png'}")


cli.add_command(explain)
cli.add_command(plugins_group)
cli.add_command(data_group)
cli.add_command(weights_group)


def main() -> None:
    """The console script."""
    cli()
