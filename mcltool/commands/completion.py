"""``mcltool completion``: the shell completes commands, options and the names of plugins and presets."""

from __future__ import annotations

import click


@click.command(short_help="Print what makes a shell complete mcltool's commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options, plugins and presets with the tab key.

    \b
    Examples, each to be done once:
      mcltool completion bash >> ~/.bashrc
      mcltool completion zsh >> ~/.zshrc
      mcltool completion fish > ~/.config/fish/completions/mcltool.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this click has no completion for {shell}; pip install --upgrade click")
    click.echo(kind(ctx.find_root().command, {}, "mcltool", "_MCLTOOL_COMPLETE").source())
