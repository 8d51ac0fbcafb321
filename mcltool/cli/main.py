"""The command line: parse, build a configuration, call one function. Commands import what they need inside.

A command returns its exit code, or None for 0.
"""

from __future__ import annotations

import click

import mcltool
from mcltool.cli.data import data_group
from mcltool.cli.demo import demo
from mcltool.cli.evaluate import compare, evaluate
from mcltool.cli.explain import explain
from mcltool.cli.machine import bench, completion, doctor
from mcltool.cli.manifest import manifest_group
from mcltool.cli.pack import pack_group
from mcltool.cli.pair import pair
from mcltool.cli.plugins import plugins_group
from mcltool.cli.program import Program
from mcltool.cli.runs import runs_group
from mcltool.cli.train import fit
from mcltool.cli.translate import translate, translate_dir
from mcltool.cli.weights import export, publish, weights_group
from mcltool.core.patience import own_process


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
    mcltool demo --pretrained                   see what it does, in seconds
    mcltool fit --plugin ade20k --root DIR      train on a data set
    mcltool translate-dir masks/ photos/ out/   turn a folder of conditions into photos
    """


for command in (
    demo, fit, translate_dir, translate, manifest_group, explain, evaluate, compare, plugins_group, runs_group,
    data_group, pack_group, pair, weights_group, bench, export, publish, doctor, completion,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """The console script."""
    with own_process():
        cli()
