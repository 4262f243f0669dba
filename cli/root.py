"""The `biasgpu` group: finds commands without importing them, and turns errors into words."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from biasgpu.cli import output, signals

# Command -> (module with an attribute `command`, the line that `biasgpu --help` shows).
COMMANDS: dict[str, tuple[str, str]] = {
    "sample": ("biasgpu.cli.sample", "Draw networks and keep those that fit the training set."),
    "train": ("biasgpu.cli.train", "Train networks and keep those that reach zero training error."),
    "compare": ("biasgpu.cli.compare", "Compare random networks that fit with trained ones."),
    "reproduce": ("biasgpu.cli.reproduce", "Run a published experiment, up to its report."),
    "run": ("biasgpu.cli.run", "Run an experiment of your own, or go on with one."),
    "report": ("biasgpu.cli.report", "Make the figures and report of an experiment anew."),
    "show": ("biasgpu.cli.show", "Show what a results file holds, or one of its networks."),
    "verify": ("biasgpu.cli.verify", "Rebuild and recheck every fit of a results file."),
    "status": ("biasgpu.cli.status", "Show how far a run is, without touching its file."),
    "plot": ("biasgpu.cli.plot", "Draw runs as curves over n_train, or a study."),
    "export": ("biasgpu.cli.export", "Write networks of a results file as safetensors."),
    "data": ("biasgpu.cli.data", "List, describe and fetch data sets."),
    "doctor": ("biasgpu.cli.doctor", "Show versions and devices, and test that engines agree."),
    "bench": ("biasgpu.cli.bench", "Measure how many candidates an engine tests a second."),
    "cite": ("biasgpu.cli.cite", "Print BibTeX for the methods a run used."),
}


class Root(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise output.unknown_command(ctx, args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(  # type: ignore[override]  # click's overloads tell apart what is one case here
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and leave with its exit code; errors are printed, not raised."""
        output.start()
        try:
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except Exception as error:
            raise SystemExit(output.report(error)) from None
        except KeyboardInterrupt as stop:
            raise SystemExit(output.interrupted(stop)) from None
        finally:
            signals.forget()
        raise SystemExit(result if isinstance(result, int) else 0)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from biasgpu import __version__

        click.echo(f"biasgpu {__version__}")
        ctx.exit()


@click.group(
    "biasgpu",
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample: thousands of random networks that classify MNIST digits without error\n"
    "  biasgpu sample --width 512",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
@output.debug_option
def root() -> None:
    """Draw networks from a prior, keep those that fit, and see how they generalise.

    Every network has a name, (seed, index), from which its weights can be rebuilt: files hold
    names and what was measured, and weights only of networks that were trained.
    """
