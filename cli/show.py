"""`biasgpu show`: what a results file holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from biasgpu.cli import options, output
from biasgpu.errors import UsageError

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome
    from biasgpu.run import Run
    from biasgpu.training.trained import Trained


@click.command(
    "show",
    epilog="\b\nExamples:\n"
    "  biasgpu show runs/digits.h5\n"
    "  biasgpu show runs/digits.h5 --index 12345\n"
    "  biasgpu show study/ --bins 0.30:0.65:0.05",
)
@options.run_argument
@click.option("--index", metavar="I", type=int, help="Show this one network instead.")
@click.option(
    "--top",
    metavar="COUNT",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many fits to list, those of the highest test accuracy first.",
)
@options.bins_option
@output.common
def command(run: str, index: int | None, top: int, bins: str | None, as_json: bool) -> None:
    """Show what a results file holds, or one of its networks.

    A file is read without locking it: a run that is writing to it goes on undisturbed.
    """
    import biasgpu

    if os.path.isdir(run):
        from biasgpu.cli.study_table import show_study

        show_study(run, as_json, bins)
        return
    if bins is not None:
        raise UsageError(
            "--bins is for studies; no folder of one is named.",
            why="networks of one loss are compared over the ways in which a study found them.",
            fix="leave it out, or name a study's folder: biasgpu show study/ --bins",
        )
    stored = biasgpu.open(run)
    if index is not None:
        _show_network(stored, index, as_json)
    elif as_json:
        summary = stored.summary()
        output.print_json({**summary, "config": stored.config, "top_fits": _top(stored, top)})
    else:
        _show_run(stored, run, top)


def _show_run(run: Run | Trained, path: str, top: int) -> None:
    import biasgpu
    from biasgpu.cli.summary import percent, print_curve, print_summary
    from biasgpu.cli.trained_summary import print_trained

    summary = run.summary()
    classes = " vs ".join(run.task.class_names)
    heading = f"{path}: {run.task.name} {classes}, n_train {run.task.n_train}; {run.architecture}; "
    if isinstance(run, biasgpu.Trained):
        print_trained(summary, f"{heading}init {run.init}; seed {run.seed}")
        if run.fits.weights is None and top:
            top = 0
            output.note("The weights were not kept: networks cannot be shown one by one.")
    else:
        method = run.experiment.method
        print_summary(summary, f"{heading}prior {run.prior}; method {method}; seed {run.seed}")
        print_curve(summary.get("curve") or [])
    best = _top(run, top)
    if best:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("index", "margin", "test accuracy", *run.task.class_names):
            table.add_column(heading, justify="right")
        for fit in best:
            table.add_row(
                str(fit["index"]),
                f"{fit['margin']:.3g}",
                percent(fit["test_accuracy"]),
                *(percent(value) for value in fit["test_accuracy_per_class"]),
            )
        output.stdout().print(table)
        output.note(f"One of them: biasgpu show {path} --index {best[0]['index']}")


def _top(run: Outcome, count: int) -> list[dict[str, Any]]:
    """The fits of the highest test accuracy, equal ones by index."""
    import numpy as np

    fits = run.fits.take(np.flatnonzero(run.fits.prefix == run.task.n_train))
    accuracy = np.nan_to_num(fits.test_accuracy, nan=-1.0)
    return [
        {
            "index": int(fits.index[row]),
            "margin": float(fits.margin[row]),
            "test_accuracy": float(fits.test_accuracy[row]),
            "test_accuracy_per_class": fits.test_accuracy_per_class[row].tolist(),
        }
        for row in np.argsort(-accuracy, kind="stable")[:count]
    ]


def _show_network(run: Run | Trained, index: int, as_json: bool) -> None:
    from biasgpu.cli.summary import note_not_kept, percent
    from biasgpu.describe import describe_network

    found = describe_network(run.network(index), run.task)
    note_not_kept(run, [index])
    if as_json:
        output.print_json(found)
        return
    out = output.stdout()
    verdict = "a fit" if found["fit"] else f"no fit: right on the first {found['prefix']} samples"
    out.print(f"Network {index} of seed {run.seed} ({run.architecture}): {verdict}", style="bold")
    per_class = ", ".join(
        f"{name} {percent(value)}" for name, value in found["test_accuracy_per_class"].items()
    )
    for label, value in (
        ("draw", f"{found['draw']}, arrangement {found['arrangement']}"),
        ("train accuracy", percent(found["train_accuracy"])),
        ("least margin", f"{found['margin']:.4g}"),
        ("test accuracy", f"{percent(found['test_accuracy'])} ({per_class})"),
    ):
        out.print(f"  {label:<16} {value}")
    _print_layers(found["layers"])
    if found["without_weights"]:
        output.note(f"No weights are shown: {found['without_weights']}")


def _print_layers(layers: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    for heading in ("output", "weight", "parameters", "Frobenius", "spectral", "bias norm"):
        table.add_column(heading, justify="right")
    for layer in layers:
        row = [layer["layer"], _shape(layer["output_shape"])]
        if "weight_shape" in layer:
            row += [_shape(layer["weight_shape"]), f"{layer['n_parameters']:,}"]
            norms = [layer[name] for name in ("frobenius_norm", "spectral_norm", "bias_norm")]
            row += ["" if norm is None else f"{norm:.4g}" for norm in norms]
        table.add_row(*row)
    output.stdout().print(table)


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape))
