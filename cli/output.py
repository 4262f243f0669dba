"""What reaches the terminal: results on stdout, everything else on stderr, errors in one form."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from biasgpu.cli.signals import exit_code
from biasgpu.errors import BiasgpuError, UsageError, suggestion

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

_debug = False


def start() -> None:
    """Forget the settings of an earlier call in this process."""
    global _debug
    _debug = False


def _set_debug(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    global _debug
    _debug = _debug or value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else there."
)


def common(command: Command) -> Command:
    """The options every command takes: --json and --debug."""
    return json_option(debug_option(command))


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200  # a file has no edge to cut a table at
    return console


def stderr(*, soft_wrap: bool = True) -> Console:
    """Where progress, notes and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def print_json(value: Any) -> None:
    """One JSON document on stdout; what is not a finite number becomes null."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """A line for the reader that is no result, on stderr."""
    click.echo(text, err=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def report(error: Exception) -> int:
    """Print an error in the house form.

    Returns:
        the exit code.
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.Abort):
        return interrupted(error.__cause__)
    if _debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    explained = explain(error)
    head, _, rest = str(explained).partition("\n")
    click.echo(click.style("Error:", fg="red", bold=True) + f" {_indented(head)}", err=True)
    if rest:
        click.echo(rest, err=True)
    return explained.exit_code


def interrupted(stop: BaseException | None) -> int:
    """Say that the command was stopped, and how to leave."""
    click.echo("Interrupted.", err=True)
    return exit_code(stop)


def explain(error: Exception) -> BiasgpuError:
    """Any error as one that says what, why and how to fix it."""
    if isinstance(error, BiasgpuError):
        return error
    if isinstance(error, click.UsageError):
        return _explain_usage(error)
    if isinstance(error, click.ClickException):
        return BiasgpuError(
            error.format_message(), why="the command cannot go on.", fix="see --help."
        )
    if isinstance(error, MemoryError):
        found = BiasgpuError(
            f"out of memory: {error}" if str(error) else "out of memory.",
            why="the command needs more memory than is free.",
            fix="use a smaller width or fewer threads (--threads 1).",
        )
        found.exit_code = 5
        return found
    if isinstance(error, OSError):
        return BiasgpuError(
            str(error),
            why="the operating system refused.",
            fix="check the path and its permissions; --debug shows where it happened.",
        )
    return BiasgpuError(
        f"{type(error).__name__}: {error}",
        why="this is a bug in biasgpu, not a mistake of yours.",
        fix="repeat the command with --debug and report what it prints.",
    )


def unknown_command(ctx: click.Context, name: str, known: Iterable[str]) -> UsageError:
    """The error for a command that is none."""
    known = list(known)
    return UsageError(
        f"no such command {name!r}.{suggestion(name, known)}",
        why=f"the commands are {', '.join(known)}.",
        fix=f"{ctx.command_path} --help",
    )


def _explain_usage(error: click.UsageError) -> UsageError:
    ctx = error.ctx
    path = ctx.command_path if ctx else "biasgpu"
    known = [
        name
        for parameter in (ctx.command.get_params(ctx) if ctx else ())
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        what = f"no such option {name}.{suggestion(name, known)}"
        return UsageError(
            what, why=f"the options are {', '.join(sorted(known))}.", fix=f"{path} --help"
        )
    what = error.format_message()
    what = what[:1].lower() + what[1:]
    return UsageError(
        what if what.endswith((".", "?")) else f"{what}.",
        why="the help page lists what the command takes.",
        fix=f"{path} --help",
    )


def _indented(text: str) -> str:
    return text.replace("\n", "\n       ")
