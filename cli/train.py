"""`biasgpu train`: networks from their initialisations to zero training error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from biasgpu.cli import options, output, signals
from biasgpu.cli.given import (
    ARCHITECTURE,
    TASK,
    compared_settings,
    given_architecture,
    given_task,
    refuse_beside_resume,
)
from biasgpu.cli.parsing import COUNT, DURATION, EPOCHS

if TYPE_CHECKING:
    from biasgpu.cli.sampling_progress import SamplingProgress
    from biasgpu.training.trained import Trained

DEFAULT_NETWORKS = 500
RULES = ("networks", "fits", "time_s")
RECIPE = (
    *("optimizer", "learning_rate", "batch_size", "epochs", "keep_epochs", "stop_early"),
    *("proposals", "tries"),
)
KEPT = ("gradient_norms", "measures", "keep_weights", "keep_predictions")
EXPERIMENT = (*TASK, *ARCHITECTURE, "init", *RECIPE, "seed", "first_index", *KEPT)


@click.command(
    "train",
    epilog="\b\nExamples:\n"
    "  biasgpu train --arch lenet --width 2/6 --networks 500\n"
    "  biasgpu train --arch lenet --init uniform --n-train 8 --fits 100 --measures -o sgd.h5\n"
    "  biasgpu train --width 64 --optimizer adam --learning-rate 0.001 --keep-epochs 0,1,3,5\n"
    "  biasgpu train --optimizer pattern-search --init uniform --stop-early\n"
    "  biasgpu train --resume sgd.h5 --fits 500",
)
@options.task_options
@options.architecture_options
@click.option(
    "--init",
    metavar="NAME[:A]",
    default="kaiming-uniform",
    show_default=True,
    help="The weights before training: uniform:A, normal:STD, kaiming-uniform, kaiming-normal.",
)
@click.option(
    "--optimizer",
    metavar="NAME",
    default="sgd",
    show_default=True,
    help="sgd, gd (full batch), momentum, adam, pattern-search or greedy-random.",
)
@click.option(
    "--learning-rate",
    metavar="RATE",
    type=float,
    help="The step; of a search the first.  [default: as published: 0.01; from uniform 0.001, on "
    "CIFAR-10 0.0001; of a search 1]",
)
@click.option(
    "--batch-size",
    metavar="B",
    type=int,
    help="Samples a step.  [default: as published: min(2, N / 2)]",
)
@click.option(
    "--epochs",
    metavar="E",
    type=int,
    default=60,
    show_default=True,
    help="Passes over the training set, of a search --proposals each; 0 leaves the "
    "initialisations.",
)
@click.option(
    "--keep-epochs",
    metavar="E,E",
    type=EPOCHS,
    default="",
    help="Epochs after which the weights are kept besides the last: 0,1,3,5.",
)
@click.option("--stop-early", is_flag=True, help="Stop each network once it has no training error.")
@click.option(
    "--proposals", metavar="COUNT", type=COUNT, help="Of an epoch of a search.  [default: 100]"
)
@click.option(
    "--tries",
    metavar="COUNT",
    type=COUNT,
    help="Proposals in vain after which a search halves its step.  [default: 100]",
)
@options.seed_options
@click.option(
    "--networks",
    metavar="COUNT",
    type=COUNT,
    help=f"Stop after training so many.  [default: {DEFAULT_NETWORKS}]",
)
@click.option("--fits", metavar="COUNT", type=COUNT, help="Stop after so many successes.")
@click.option(
    "--time", "time_s", metavar="DURATION", type=DURATION, help="Stop after so long: 30s, 5m, 2h."
)
@click.option("--gradient-norms", is_flag=True, help="Store the gradient norm at every epoch.")
@options.measures_option
@click.option(
    "--weights/--no-weights", "keep_weights", default=True, help="Store the weights, or not."
)
@click.option("--keep-predictions", is_flag=True, help="Store every network's test predictions.")
@options.engine_options
@options.file_options
@output.common
@click.pass_context
@signals.one_stop()
def command(ctx: click.Context, as_json: bool, quiet: bool, **given: Any) -> None:
    """Train networks and keep those that reach zero training error.

    Each network begins as a named draw; the defaults are the published ones. Engines take the same
    steps and differ by rounding alone. Ctrl-C or SIGTERM stops it too; what was found is kept.
    """
    from biasgpu.cli.sampling_progress import SamplingProgress

    settings = {name: given[name] for name in (*RULES, "engine", "device", "threads")}
    if given["confidence"] is not None:
        settings["confidence"] = given["confidence"]
    progress = SamplingProgress(quiet=quiet or as_json, command="biasgpu train")
    try:
        if given["resume"] is None:
            trained = _start(given, settings, progress)
        else:
            trained = _go_on(ctx, given, settings, progress)
    except KeyboardInterrupt as stop:
        if progress.interrupted is None:
            raise
        if as_json:
            output.print_json(progress.interrupted.run.summary())
        ctx.exit(signals.exit_code(stop))
    if as_json:
        output.print_json(trained.summary())
    else:
        _print(trained)


def _start(given: dict[str, Any], settings: dict[str, Any], progress: SamplingProgress) -> Trained:
    import biasgpu
    from biasgpu import priors
    from biasgpu.cli.naming import free_path, slug

    if all(settings[name] is None for name in RULES):
        settings |= {"networks": DEFAULT_NETWORKS}
    architecture, init = given_architecture(given), priors.make(given["init"])
    task = given_task(given)
    name = f"{slug(task, architecture, init, given['seed'])}-{given['optimizer']}"
    with progress:
        progress.heading.append(_heading(task, architecture, init, given))
        if task.sources.get("note"):
            progress.heading.append(f"Note: {task.sources['note']}")
        return biasgpu.train(
            task,
            architecture,
            init,
            **{key: given[key] for key in (*RECIPE, *KEPT, "seed", "first_index", "overwrite")},
            **settings,
            output=given["path"] or free_path(name),
            on_event=progress,
        )


def _go_on(
    ctx: click.Context,
    given: dict[str, Any],
    settings: dict[str, Any],
    progress: SamplingProgress,
) -> Trained:
    import biasgpu
    from biasgpu.cli.given import trained_file
    from biasgpu.results import check_config

    refuse_beside_resume(given, "biasgpu train")
    path = given["resume"]
    stored = trained_file(path)
    typed = {
        name: given[name]
        for name in EXPERIMENT
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if typed:
        check_config(*_compared(stored, typed), path=path, command="biasgpu train")
    with progress:
        names = {**stored.recipe.to_config(), "seed": stored.seed}
        heading = _heading(stored.task, stored.architecture, stored.init, names)
        progress.heading.append(heading)
        return biasgpu.resume(path, **settings, on_event=progress)


def _compared(stored: Trained, typed: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored settings that were typed again, and what was typed."""
    from biasgpu import priors
    from biasgpu.training.api import make_recipe

    old, new = compared_settings(stored, typed)
    if "init" in typed:
        old["init"], new["init"] = str(stored.init), str(priors.make(typed["init"]))
    if any(name in typed for name in RECIPE):
        recipe = stored.recipe.to_config()
        again = {key: value for key, value in typed.items() if key in RECIPE}
        if again.get("optimizer", recipe["optimizer"]) != recipe["optimizer"]:
            for name in ("batch_size", "proposals", "tries"):  # another one has its own
                recipe.pop(name, None)
        settings = make_recipe(stored.task, stored.init, **{**recipe, **again}).to_config()
        old["recipe"], new["recipe"] = stored.recipe.to_config(), settings
    for name in ("seed", *KEPT):
        if name in typed:
            old[name], new[name] = stored.config[name], typed[name]
    if "first_index" in typed:
        old["first_index"] = stored.summary()["first_index"]
        new["first_index"] = typed["first_index"]
    return old, new


def _heading(task: Any, architecture: Any, init: Any, given: dict[str, Any]) -> str:
    classes = " vs ".join(task.class_names)
    return (
        f"{task.name} {classes}, n_train {task.n_train}; {architecture}; init {init}; "
        f"{given['optimizer']}, {given['epochs']} epochs; seed {given['seed']}"
    )


def _print(trained: Trained) -> None:
    from biasgpu.cli.trained_summary import print_trained

    summary = trained.summary()
    path = summary.get("output")
    print_trained(summary, f"Trained {summary['n_networks']:,} networks")
    if path:
        out = output.stdout()
        out.print(f"Stored in {path}. Next:")
        for line in (
            f"biasgpu show {path}",
            f"biasgpu verify {path}",
            f"biasgpu train --resume {path} --networks {10 * max(trained.n_networks, 10)}",
        ):
            out.print(f"  {line}")
