"""What `biasgpu reproduce` and `biasgpu run` share: options, and an experiment from end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from biasgpu.cli import options, output, signals
from biasgpu.cli.experiment_output import show_experiment, show_plan
from biasgpu.cli.experiment_progress import ExperimentProgress
from biasgpu.cli.parsing import DURATION

Command = TypeVar("Command", bound=Callable[..., Any])
SETTINGS = ("scale", "time_s", "only", "data_dir", "engine", "train_engine", "device", "threads")

_OPTIONS = (
    click.option(
        "--scale",
        metavar="X",
        type=float,
        help="Multiplies the counts of networks, none below 5; data seeds and N stay: 0.1.  "
        "[default: the definition's]",
    ),
    click.option(
        "--time",
        "time_s",
        metavar="DURATION",
        type=DURATION,
        help="At most so long a file: 60s, 5m, 2h.  [default: the definition's]",
    ),
    click.option(
        "--only",
        metavar="PATTERN",
        help="Make the files alone whose names match: 'sgd-*w1-6*'. The others can follow.",
    ),
    options.data_dir_option,
    click.option(
        "-o",
        "--output",
        "path",
        metavar="FOLDER",
        type=click.Path(),
        help="The experiment's folder; what is there is gone on with.  [default: runs/ and a name]",
    ),
    click.option(
        "--plan",
        "plan_only",
        is_flag=True,
        help="Say what would be done, and how long it would take; do nothing.",
    ),
    click.option("--print-config", is_flag=True, help="Print the definition that this amounts to."),
    click.option(
        "--no-estimate", is_flag=True, help="Begin at once, without measuring how long it takes."
    ),
    click.option("--train-engine", metavar="NAME", help="Another engine for training."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)


def experiment_options(command: Command) -> Command:
    """The options that both commands take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return options.engine_options(output.common(command))


def run_experiment(ctx: click.Context, what: str, published: bool, given: dict[str, Any]) -> None:
    """Plan, print or make an experiment, as its options say.

    Args:
        ctx: of the command.
        what: a published name, a file or a folder.
        published: it is a name.
        given: the options.
    """
    import biasgpu
    from biasgpu.experiments.api import plan_of, source

    as_json, planned, made = given["as_json"], None, None
    if given["print_config"]:
        if published:
            biasgpu.experiments.published(what)  # a name, whatever lies in this folder
        click.echo(source(what, given["scale"], given["time_s"])[0], nl=False)
        return
    quiet = given["quiet"] or as_json
    progress = ExperimentProgress(quiet=quiet, announces=not given["plan_only"])
    settings: dict[str, Any] = {name: given[name] for name in SETTINGS}
    # Where nobody sees an estimate, none is made.
    seen = given["plan_only"] or not quiet
    settings |= {"output": given["path"], "estimate": seen and not given["no_estimate"]}
    try:
        with progress:
            if given["plan_only"]:
                planned = plan_of(what, on_event=progress, **settings)
            else:
                make = biasgpu.reproduce if published else biasgpu.run_definition
                made = make(what, on_event=progress, **settings)
    except KeyboardInterrupt as stop:
        if progress.stopped is None:
            raise
        ctx.exit(signals.exit_code(stop))
    if planned is not None:
        show_plan(planned, as_json)
    elif made is not None:
        show_experiment(made, as_json)
        if made.problems:
            ctx.exit(1)
