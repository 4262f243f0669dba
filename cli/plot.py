"""`biasgpu plot`: figures from results files, and from studies."""

from __future__ import annotations

import os
from pathlib import Path

import click

from biasgpu.cli import options, output
from biasgpu.errors import RefusedError, UsageError, unknown

FORMATS = ("png", "pdf", "svg")
STUDY_ONLY = ("kind", "n_train", "formats", "bins")

SHOWN = {"n_train": "n", "formats": "format"}


@click.command(
    "plot",
    epilog="\b\nExamples:\n"
    "  biasgpu plot runs/narrow.h5 runs/wide.h5 -o widths.png\n"
    "  biasgpu plot study/\n"
    "  biasgpu plot study/ --kind histogram --n 8 --format pdf -o figures/\n"
    "  biasgpu plot study/ --kind bins --bins 0.30:0.65:0.05",
)
@click.argument("runs", metavar="RUN.h5|STUDY...", type=click.Path(), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="PATH",
    type=click.Path(),
    help="The figure to make: .png, .pdf or .svg; of a study also a folder.  "
    "[default of a study: figures/ in it]",
)
@click.option("--label", "labels", metavar="TEXT", multiple=True, help="One a file; repeatable.")
@click.option(
    "--kind",
    metavar="KIND",
    help="Of a study: width, depth, histogram, epochs, boxes, gradient-norm, bins.  [default: all]",
)
@click.option(
    "--n",
    "n_train",
    metavar="N",
    type=int,
    help="Of histograms, boxes and bins.  [default: the largest]",
)
@options.bins_option
@click.option(
    "--format", "formats", metavar="LIST", help="Of a study's figures.  [default: png,pdf,svg]"
)
@click.option("--overwrite", is_flag=True, help="Replace figures that exist.")
@output.common
def command(
    runs: tuple[str, ...],
    path: str | None,
    labels: tuple[str, ...],
    kind: str | None,
    n_train: int | None,
    bins: str | None,
    formats: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw runs as curves over n_train, or a study.

    Of results files: fit probability and test accuracy against n_train, one line for each. Of a
    study (its folder): curves over widths and depths, histograms, box plots, gradient norms, test
    accuracy by bin of weight-normalised loss.
    """
    studies = [run for run in runs if os.path.isdir(run)]
    if studies:
        if len(runs) > 1 or labels:
            raise UsageError(
                f"{studies[0]} is a study, and {'more is named' if len(runs) > 1 else '--label'} "
                "beside it.",
                why="a study is drawn by itself, and names its cells.",
                fix=f"biasgpu plot {studies[0]}",
            )
        _draw_study(studies[0], path, kind, n_train, bins, formats, overwrite, as_json)
        return
    for name, value in zip(STUDY_ONLY, (kind, n_train, formats, bins), strict=True):
        if value is not None:
            raise UsageError(
                f"--{SHOWN.get(name, name)} is for studies; no folder of one is named.",
                why="a results file is drawn in one way.",
                fix="leave it out, or name a study's folder: biasgpu plot study/",
            )
    if path is None:
        raise UsageError(
            "no figure is named.",
            why="the figure of results files is made where -o says.",
            fix=f"biasgpu plot {' '.join(runs)} -o figure.png",
        )
    _draw_runs(runs, path, labels, overwrite, as_json)


def _draw_runs(
    runs: tuple[str, ...], path: str, labels: tuple[str, ...], overwrite: bool, as_json: bool
) -> None:
    import biasgpu
    from biasgpu import figures

    found = [biasgpu.open(run) for run in runs]
    for run, stored in zip(runs, found, strict=True):
        if isinstance(stored, biasgpu.Trained):
            raise UsageError(
                f"{run} holds trained networks, which have no curve against n_train.",
                why="networks are trained for one n_train, drawn ones serve every smaller one too.",
                fix="compare both over n_train with biasgpu compare, and plot the folder it makes.",
            )
    figure = figures.curve(found, labels=list(labels) or None)
    figures.save(figure, path, overwrite=overwrite)
    if as_json:
        output.print_json({"output": path, "runs": list(runs)})
    else:
        output.stdout().print(path)


def _draw_study(
    study: str,
    path: str | None,
    kind: str | None,
    n_train: int | None,
    bins: str | None,
    formats: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    import biasgpu
    from biasgpu import figures
    from biasgpu.study.draw import ALL, draw

    bins = None if bins == options.DEFAULT_BINS else bins
    cells = biasgpu.open_study(study).cells()
    drawn, left_out = draw(cells, kind or ALL, n_train=n_train, bins=bins)
    for name, why in left_out.items():
        output.note(f"Note: no {name}: {why}")
    named = path is not None and Path(path).suffix.lower().lstrip(".") in FORMATS
    if named and (len(drawn) > 1 or formats is not None):
        raise UsageError(
            f"{path} is one file, and {', '.join(drawn)} are to be drawn.",
            why="each figure has a file for each format.",
            fix=f"name a folder (-o {Path(str(path)).parent}/), or one --kind and no --format.",
        )
    folder = Path(study) / "figures" if path is None else Path(path)
    targets = {
        name: [folder] if named else [folder / f"{name}.{form}" for form in _formats(formats)]
        for name in drawn
    }
    taken = [target for several in targets.values() for target in several if target.exists()]
    if taken and not overwrite:  # said before any of them is made
        raise RefusedError(
            f"{taken[0]} exists.",
            why="a figure is not replaced unless that is asked for.",
            fix="name another folder (-o other/), or --overwrite.",
        )
    for name, several in targets.items():
        for target in several:
            figures.save(drawn[name], target, overwrite=overwrite)
    made = [os.fspath(target) for several in targets.values() for target in several]
    if as_json:
        output.print_json({"study": study, "outputs": made, "left_out": left_out})
    else:
        for line in made:
            output.stdout().print(line)


def _formats(formats: str | None) -> list[str]:
    if formats is None:
        return list(FORMATS)
    named = [part.strip().lower().lstrip(".") for part in formats.split(",") if part.strip()]
    for name in named:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS, fix="for example --format png,pdf")
    return list(dict.fromkeys(named)) or list(FORMATS)
