"""`biasgpu sample`: the command everything starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from biasgpu.cli import options, output, signals
from biasgpu.cli.given import (
    ARCHITECTURE,
    TASK,
    compared_settings,
    drawn_file,
    given_architecture,
    given_task,
    refuse_beside_resume,
)

if TYPE_CHECKING:
    from biasgpu.cli.sampling_progress import SamplingProgress
    from biasgpu.run import Run

DEFAULT_FITS = 3000
DEFAULT_TIME_S = 600.0
ONE_N = "Note: batch norms see all training samples, so this run is of N = {n} alone."
ROWS = ("curve_fits", "keep_predictions", "measures")
RULES = ("fits", "candidates", "time_s")
EXPERIMENT = (*TASK, *ARCHITECTURE, "prior", "method", "seed", "first_index", *ROWS)


@click.command(
    "sample",
    epilog="\b\nExamples:\n"
    "  biasgpu sample --width 512\n"
    "  biasgpu sample --arch lenet --width 2/6 --prior uniform --n-train 32 --candidates 1e9\n"
    "  biasgpu sample --data mine.npz --n-train 8 --fits 100 -o mine.h5 --json\n"
    "  biasgpu sample --resume mine.h5 --fits 1000",
)
@options.task_options
@options.architecture_options
@options.prior_options
@options.seed_options
@options.stopping_options
@options.engine_options
@click.option("--keep-predictions", is_flag=True, help="Store every fit's test predictions.")
@options.measures_option
@click.option(
    "--curve-fits",
    metavar="COUNT",
    type=int,
    default=100,
    show_default=True,
    help="Networks to keep for every smaller N of the curve; with batch norms there is one N.",
)
@options.file_options
@output.common
@click.pass_context
@signals.one_stop()
def command(ctx: click.Context, as_json: bool, quiet: bool, **given: Any) -> None:
    """Draw networks and keep those that fit the training set.

    Without --fits, --candidates or --time it stops at 3000 fits or after 10 minutes, whichever
    comes first. Ctrl-C or SIGTERM stops it too; what was found is kept.
    """
    from biasgpu.cli.sampling_progress import SamplingProgress

    settings = {name: given[name] for name in (*RULES, "engine", "device", "threads")}
    if given["confidence"] is not None:
        settings["confidence"] = given["confidence"]
    progress = SamplingProgress(quiet=quiet or as_json)
    try:
        if given["resume"] is None:
            run = _start(given, settings, progress)
        else:
            run = _go_on(ctx, given, settings, progress)
    except KeyboardInterrupt as stop:
        if progress.interrupted is None:
            raise
        if as_json:
            output.print_json(progress.interrupted.run.summary())
        ctx.exit(signals.exit_code(stop))
    if as_json:
        output.print_json(run.summary())
    else:
        _print(run)


def _start(given: dict[str, Any], settings: dict[str, Any], progress: SamplingProgress) -> Run:
    import biasgpu
    from biasgpu import methods, priors
    from biasgpu.cli.naming import free_path, slug

    if all(settings[name] is None for name in RULES):
        settings |= {"fits": DEFAULT_FITS, "time_s": DEFAULT_TIME_S}
    architecture = given_architecture(given)
    prior = priors.make(given["prior"])
    task = given_task(given)
    path = given["path"] or free_path(slug(task, architecture, prior, given["seed"]))
    with progress:
        method = methods.choose(given["method"], task, architecture, prior)
        progress.heading.append(_heading(task, architecture, prior, method, given["seed"]))
        if task.sources.get("note"):
            progress.heading.append(f"Note: {task.sources['note']}")
        if architecture.coupled:
            progress.heading.append(ONE_N.format(n=task.n_train))
        return biasgpu.sample(
            task,
            architecture,
            prior,
            method=method,
            seed=given["seed"],
            **settings,
            first_index=given["first_index"],
            **{name: given[name] for name in ROWS},
            output=path,
            overwrite=given["overwrite"],
            on_event=progress,
        )


def _go_on(
    ctx: click.Context,
    given: dict[str, Any],
    settings: dict[str, Any],
    progress: SamplingProgress,
) -> Run:
    import biasgpu
    from biasgpu.results import check_config

    refuse_beside_resume(given, "biasgpu sample")
    path = given["resume"]
    stored = drawn_file(path, "biasgpu train --resume {path}")
    typed = {
        name: given[name]
        for name in EXPERIMENT
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if typed:
        check_config(*_compared(stored, typed), path=path)
    with progress:
        experiment = stored.experiment
        heading = _heading(
            stored.task, stored.architecture, stored.prior, experiment.method, stored.seed
        )
        progress.heading.append(heading)
        return biasgpu.resume(path, **settings, on_event=progress)


def _compared(stored: Run, typed: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored settings that were typed again, and what was typed."""
    from biasgpu import priors

    old, new = compared_settings(stored, typed)
    if typed.get("method", "auto") != "auto":
        old["method"], new["method"] = stored.experiment.method, typed["method"]
    if "prior" in typed:
        old["prior"], new["prior"] = str(stored.prior), str(priors.make(typed["prior"]))
    for name in ("seed", *ROWS):
        if name in typed:
            old[name], new[name] = stored.config.get(name, False), typed[name]
    if "first_index" in typed:
        old["first_index"] = stored.summary()["first_index"]
        new["first_index"] = typed["first_index"]
    return old, new


def _heading(task: Any, architecture: Any, prior: Any, method: str, seed: int) -> str:
    classes = " vs ".join(task.class_names)
    return (
        f"{task.name} {classes}, n_train {task.n_train}; {architecture}; prior {prior}; "
        f"method {method}; seed {seed}"
    )


def _print(run: Run) -> None:
    from biasgpu.cli.summary import print_curve, print_summary

    summary = run.summary()
    path = summary.get("output")
    print_summary(summary, f"Found {summary['n_fits']:,} networks that fit")
    print_curve(summary.get("curve") or [])
    if path:
        out = output.stdout()
        out.print(f"Stored in {path}. Next:")
        for line in (
            f"biasgpu show {path}",
            f"biasgpu verify {path}",
            f"biasgpu plot {path} -o figure.png",
            f"biasgpu sample --resume {path} --fits {10 * max(run.n_fits, 100)}",
        ):
            out.print(f"  {line}")
