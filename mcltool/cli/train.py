"""``mcltool fit`` and ``runs``: training, and what was trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcltool.cli import options
from mcltool.cli.options import PATH
from mcltool.cli.settings import complete_settings, show_settings
from mcltool.core.presets import PRESETS


def _number_or_auto(_: click.Context, __: click.Parameter, given: str | None) -> int | str | None:
    if given in (None, "auto"):
        return given
    try:
        return int(given)
    except ValueError:
        raise click.BadParameter(f"{given}: must be a number of samples, or auto") from None


@click.command(short_help="Train a model on a data set.")
@options.data
@options.pack
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="Exemplars of photos that have no other view: lines key,exemplar,... (mcltool pair).  "
    "[default: those in the pack, if it has any]",
)
@options.size("--size", "Training size in pixels, multiples of 4: 256, or 256x192.")
@click.option(
    "--preset",
    metavar="NAME",
    shell_complete=lambda _, __, begun: [name for name in PRESETS if name.startswith(begun)],
    help="Sizes of the networks: tiny (64 px) and small (128 px) for a CPU, base (256 px), paper (256 px, as "
    "published) or hd (512 px).  "
    "[default: the data set's own; tiny for shapes, small for a folder of your own, else base]",
)
@click.option("--max-steps", type=int, metavar="N", help="Stop after N steps.  [default: from train.epochs]")
@click.option(
    "--batch-size",
    metavar="B|auto",
    callback=_number_or_auto,
    help="Samples a step; auto: the preset's, computed in parts that fit the memory.  [default: the preset's]",
)
@click.option(
    "--run",
    "--run-dir",
    "run",
    type=PATH,
    metavar="DIR",
    help="Run folder. Behind torchrun write --run-dir, since torchrun takes --run for its own.  "
    "[default: runs/PLUGIN-N, the next N]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the newest intact checkpoint of --run, or of the latest run.",
)
@click.option(
    "--max-minutes", type=float, metavar="M", help="Save and exit after M minutes; --resume continues."
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be trained, its size and memory; train nothing."
)
@options.json("With --dry-run: print JSON, with the whole configuration.")
@click.option(
    "--from",
    "start",
    metavar=options.WEIGHTS,
    help="Fine-tune: start from these weights; classes match by name. Without --preset the networks have their sizes.",
)
@click.option("--freeze/--no-freeze", default=None, help="With --from: do not train the encoders.")
@click.option("--out", type=PATH, metavar="FILE", help="Weights file.  [default: RUN/weights.safetensors]")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option(
    "--precision",
    type=options.PRECISION,
    help="Number format of the networks' products.  [default: auto, bf16 or fp16 where it is faster]",
)
@options.device
@options.threads
@click.option(
    "--perceptual",
    type=click.Choice(["auto", "vgg", "caffe", "random", "none"]),
    help="Network of the perceptual and contextual losses.  [default: auto, none for tiny and small, else vgg]",
)
@click.option("--workers", type=int, metavar="N", help="Processes that load data; 0: none.  [default: 2]")
@click.option(
    "--config",
    type=PATH,
    metavar="FILE|NAME",
    help="TOML file with sections model, loss, data, train; or published settings: paper-ade20k, paper-celebahq-parts, "
    "paper-celebahq-mask, paper-deepfashion.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    shell_complete=complete_settings,
    help="One setting; repeatable. --help-settings lists them.",
)
@click.option(
    "--help-settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_settings,
    help="List every setting, with its value in each preset, and exit.",
)
def fit(
    data: options.Data,
    pack: Path | None,
    pairs: Path | None,
    size: options.Size,
    preset: str | None,
    run: Path | None,
    resume: bool,
    max_minutes: float | None,
    dry_run: bool,
    as_json: bool,
    start: str | None,
    out: Path | None,
    device: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train a model on a data set and write its weights, with all that translate-dir needs, to one file.

    Precedence: option, --set, --config, the data set's defaults, the preset. The
    run folder gets the resolved config.json, metrics.jsonl, sample pictures, checkpoints, report.html and at
    last weights.safetensors. Ctrl-C saves and ends; the same command with --resume continues exactly there.

    \b
    Examples:
      mcltool fit --plugin shapes --max-steps 500
      mcltool fit --root garden --preset tiny
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --batch-size 4
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --preset tiny --size 64 --max-steps 1000
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --config mine.toml --set loss.mcl=0.05
      mcltool fit --config paper-ade20k --root ADEChallengeData2016 --pairs ade20k_ref.txt
      mcltool fit --root garden --from runs/ade20k-1 --max-steps 500
      mcltool fit --plugin ade20k --root ADEChallengeData2016 --run runs/night --resume --max-minutes 230
      torchrun --nproc-per-node 8 -m mcltool fit --plugin ade20k --root ADEChallengeData2016 --run-dir runs/big
      mcltool pack --plugin ade20k --root ADEChallengeData2016 ade20k.h5 && mcltool fit --data ade20k.h5
    """
    from mcltool.core.config import read_toml
    from mcltool.plugin.registry import use_reading
    from mcltool.train.runs import choose_run, configure

    if as_json and not dry_run:
        raise click.UsageError("--json needs --dry-run; a run writes its numbers to metrics.jsonl")
    from_file = read_toml(config) if config else {}
    if fit_memory := flags["batch_size"] == "auto":
        del flags["batch_size"]
    chosen = {_ADDRESSES[name]: value for name, value in flags.items()} | {
        "data.size": size, "data.canvas": data.canvas, "data.labels": data.labels or None, "data.exif": data.exif,
        "train.start_from": start or None,
    }  # fmt: skip
    given = {address: value for address, value in chosen.items() if value is not None}
    plugin = data.plugin or (None if pack else from_file.get("plugin"))
    folder, plugin = choose_run(run, plugin, data.root, pack, resume)
    dataset, root = data._replace(plugin=plugin, canvas=None).open(pack)
    resolved = configure(dataset, preset, folder, resume, from_file, settings, given)
    use_reading(dataset, resolved.data.labels, resolved.data.exif, resolved.data.canvas)

    from mcltool.train.distributed import launched_rank
    from mcltool.train.job import TrainingJob
    from mcltool.train.loop import fit as train
    from mcltool.train.run_folder import RunFolder

    if dry_run:
        from mcltool.cli.tables import show_plan
        from mcltool.train.job import dry

        show_plan(dataset.name, *dry(dataset, resolved, device, fit_memory), folder, as_json)
        return
    fit_memory &= not (resume and RunFolder(folder).holds_a_run())  # which keeps how it was fitted
    job = TrainingJob(dataset, resolved, root, folder, out, device, resume, max_minutes, pairs, fit_memory)
    from mcltool.train.display import shown

    with shown() as show:
        weights = train(job, show)
    if weights and launched_rank() == 0:
        click.echo(f"weights: {weights}")


_ADDRESSES = {
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "precision": "train.precision",
    "perceptual": "train.perceptual",
    "workers": "data.workers",
    "freeze": "train.freeze",
}


@click.group("runs", cls=options.Commands)
def runs_group() -> None:
    """Training runs."""


@runs_group.command("list")
@click.argument("folder", type=PATH, default=Path("runs"))
def list_runs(folder: Path) -> None:
    """The runs in FOLDER (default: runs), with how far each came and its latest scores."""
    from mcltool.cli.tables import show_runs
    from mcltool.core.errors import UsageError
    from mcltool.train.runs import overview, runs_below

    runs = runs_below(folder)
    if not runs:
        raise UsageError(f"{folder}: no runs in it; 'mcltool fit' makes one")
    show_runs([overview(run) for run in runs])


@runs_group.command("show")
@click.argument("run", type=PATH)
def show_run(run: Path) -> None:
    """All about one run: state, latest losses and scores, checkpoints, files, configuration."""
    from mcltool.cli.tables import show_facts
    from mcltool.train.run_folder import RunFolder
    from mcltool.train.runs import facts

    show_facts(facts(RunFolder(run)))
