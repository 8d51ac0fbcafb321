"""The command line: parse, build a configuration, call one function. Commands import what they need inside.

A command returns its exit code, or None for 0.
"""

from __future__ import annotations

import click

import mcltool
from mcltool.commands.bench import bench
from mcltool.commands.completion import completion
from mcltool.commands.data import data_group
from mcltool.commands.demo import demo
from mcltool.commands.doctor import doctor
from mcltool.commands.evaluate import compare, evaluate
from mcltool.commands.explain import explain
from mcltool.commands.export import export
from mcltool.commands.fit import fit
from mcltool.commands.manifest import manifest_group
from mcltool.commands.pack import pack_group
from mcltool.commands.pair import pair
from mcltool.commands.plugins import plugins_group
from mcltool.commands.runs import runs_group
from mcltool.commands.translate import translate, translate_dir
from mcltool.commands.weights import weights_group
from mcltool.program import Program


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


cli.add_command(demo)
cli.add_command(fit)
cli.add_command(translate_dir)
cli.add_command(translate)
cli.add_command(manifest_group)
cli.add_command(explain)
cli.add_command(evaluate)
cli.add_command(compare)
cli.add_command(plugins_group)
cli.add_command(runs_group)
cli.add_command(data_group)
cli.add_command(pack_group)
cli.add_command(pair)
cli.add_command(weights_group)
cli.add_command(bench)
cli.add_command(export)
cli.add_command(doctor)
cli.add_command(completion)


def main() -> None:
    """The console script."""
    cli()
