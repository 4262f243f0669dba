"""`biasgpu compare`: guess and check beside an optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biasgpu.cli import options, output, signals
from biasgpu.cli.compare_options import study_options, typed
from biasgpu.errors import UsageError

if TYPE_CHECKING:
    from biasgpu.study import Study, StudyFolder

RUNS = Path("runs")


@click.command(
    "compare",
    epilog="\b\nExamples:\n"
    "  biasgpu compare --width 1/6,4/6 --n-train 8 --fits 50 --trained 50 "
    "--data-seeds 200,201 -o study/\n"
    "  biasgpu compare --resume study/\n"
    "  biasgpu compare --resume study/ --extend --data-seeds 202,203\n"
    "  biasgpu compare --config study.toml --json",
)
@study_options
@options.engine_options
@click.option("--train-engine", metavar="NAME", help="Another engine for training.")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help="Settings from a .toml or .json file; those that are typed come first.",
)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FOLDER",
    type=click.Path(),
    help="The study's folder; what is there is gone on with.  [default: runs/ and a name]",
)
@click.option(
    "--resume", metavar="FOLDER", type=click.Path(), help="Go on with this study, as it is stored."
)
@click.option(
    "--extend",
    is_flag=True,
    help="Add what is named to the study there: data seeds, widths, depths, priors, N, "
    "kept epochs.",
)
@click.option(
    "--print-config",
    is_flag=True,
    help="Print the definition that this amounts to, for biasgpu run; do nothing.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@output.common
@click.pass_context
@signals.one_stop()
def command(
    ctx: click.Context, as_json: bool, quiet: bool, print_config: bool, **given: Any
) -> None:
    """Compare random networks that fit with trained ones.

    For each width or depth and each data seed: guess and check, for all N in one pass, and
    training at each N. One folder holds the study, one file each cell; the same command, or
    --resume, goes on after any interruption and ends with the same result.
    """
    import biasgpu
    from biasgpu.cli.study_progress import StudyProgress

    study, path = _study(given)
    if print_config:
        from biasgpu.experiments.text import of_study

        click.echo(of_study(study), nl=False)
        return
    progress = StudyProgress(quiet=quiet or as_json)
    settings = ("engine", "train_engine", "device", "threads", "extend")
    try:
        with progress:
            made = biasgpu.compare(
                study, output=path, on_event=progress, **{name: given[name] for name in settings}
            )
    except KeyboardInterrupt as stop:
        if progress.interrupted is None:
            raise
        if as_json:
            output.print_json(biasgpu.open_study(path).summary())
        ctx.exit(signals.exit_code(stop))
    _show(made, as_json)
    if made.problems():
        ctx.exit(1)


def _study(given: dict[str, Any]) -> tuple[Study, Path]:
    """What is to be done, and where."""
    import biasgpu
    from biasgpu.study.definition import FAMILY, Study
    from biasgpu.study.files import read_settings
    from biasgpu.study.updates import updated

    settings = typed(given)
    if given["resume"] is not None:
        for name, option in (("path", "-o"), ("config", "--config")):
            if given[name] is not None:
                raise UsageError(
                    f"{option} does not go with --resume.",
                    why="--resume goes on with the study in the folder that it names.",
                    fix=f"biasgpu compare --resume {given['resume']}",
                )
        stored = biasgpu.open_study(given["resume"]).definition
        return updated(stored, settings), Path(given["resume"])
    if given["config"] is not None:
        written = read_settings(given["config"])
        if any(settings.get(name) is not None for name in FAMILY):
            written.pop("architectures", None)
        settings = {**written, **settings}
    path = given["path"]
    if given["extend"] and path is not None and Path(path).is_dir():
        return updated(biasgpu.open_study(path).definition, settings), Path(path)
    study = Study.from_config(settings)
    return study, Path(path or RUNS / _name(study))


def _name(study: Study) -> str:
    names = dict.fromkeys(architecture.name for architecture in study.architectures)
    parts = ("compare", Path(study.data).stem, *(study.classes or ()), *names)
    return "-".join([*map(str, parts), f"n{study.n_train}"])


def _show(made: StudyFolder, as_json: bool) -> None:
    from biasgpu.cli.study_table import show_study

    show_study(str(made.path), as_json)
    if as_json:
        return
    out = output.stdout()
    out.print(f"Stored in {made.path}. Next:")
    for line in (
        f"biasgpu plot {made.path}",
        f"biasgpu show {made.path}",
        f"biasgpu compare --resume {made.path} --extend --data-seeds "
        f"{max(made.definition.data_seeds) + 1}",
    ):
        out.print(f"  {line}")
