"""fit: from options, a file and presets to a configuration, and from that to weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcltool.commands.options import DEVICE_HELP, FILE, FOLDER, PRECISION

if TYPE_CHECKING:
    from mcltool.config import Config
    from mcltool.data.contract import DatasetPlugin


@click.command(short_help="Train a model on a data set.")
@click.option("--plugin", metavar="NAME", help="Data set; mcltool plugins list names them.")
@click.option(
    "--root",
    type=FOLDER,
    metavar="DIR",
    help="Folder that the data set was unpacked to.  [default: $MCLTOOL_DATA/PLUGIN]",
)
@click.option(
    "--data",
    "pack",
    type=FILE,
    metavar="FILE.h5",
    help="A pack (mcltool pack) in the place of --plugin and --root.",
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
    plugin: str | None,
    root: Path | None,
    pack: Path | None,
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
      mcltool pack --plugin ade20k --root ADEChallengeData2016 ade20k.h5 && mcltool fit --data ade20k.h5
    """
    from mcltool import plugins
    from mcltool.config import parse_size

    dataset = _dataset(plugin, root, pack)
    given = {_ADDRESSES[name]: value for name, value in flags.items() if value is not None}
    size_given = {"data.size": parse_size(size)} if size else {}
    resolved = _fit_config(dataset, preset, config, settings, given | size_given)

    from mcltool.train.display import show
    from mcltool.train.fit import fit as train

    root = plugins.data_root(dataset, root)
    weights = train(dataset, resolved, root, run or _next_run(Path("runs"), dataset.name), out, device, show)
    click.echo(f"weights: {weights}")


_ADDRESSES = {
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "precision": "train.precision",
    "perceptual": "train.perceptual",
    "workers": "data.workers",
}


def _dataset(plugin: str | None, root: Path | None, pack: Path | None) -> DatasetPlugin:
    from mcltool import plugins

    if pack is not None:
        if root is not None:
            raise click.UsageError("--root and --data: the samples come from the one or from the other")
        return plugins.load_packed(pack, plugin)
    if plugin is None:
        raise click.UsageError("Missing option '--plugin' (or '--data')")
    return plugins.load(plugin)


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
