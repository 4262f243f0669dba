"""Fill the tables of docs/results.md from studies: `python tools/results_page.py FOLDER`.

FOLDER holds the studies fig1, fig2, fig3 and fig5, made by the commands on that page. What stands
between `<!-- NAME -->` and `<!-- end -->` is replaced; figures go to docs/images.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

import biasgpu
from biasgpu import figures
from biasgpu.study import StudyFolder
from biasgpu.study.cells import Cell

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
FEW = (2, 4, 8, 16, 24, 32)  # of the N of figure 3, for a table that can be read
matplotlib.use("agg")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the header."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def way(cell: Cell) -> str:
    """How its networks were found."""
    return "guess and check" if cell.way == "guess-and-check" else "SGD"


def single(study: StudyFolder) -> str:
    """A row a cell: one data seed, one N."""
    rows = [["architecture", "", "prior", "networks", "test accuracy", "std", "normalised loss",
             "-log2 P, or success", "time"]]  # fmt: skip
    for cell in study.cells():
        found = biasgpu.estimates.summary(cell.test_accuracy)
        estimate = cell.estimate
        drawn = cell.way == "guess-and-check"
        if cell.n_networks < 2 or found.mean is None or found.low is None or found.std is None:
            rows.append([str(cell.architecture), way(cell), cell.prior, str(cell.n_networks),
                         cell.problem, "", "", "", seconds(cell)])  # fmt: skip
            continue
        loss = cell.normalized_loss
        rows.append([
            str(cell.architecture), way(cell), cell.prior, f"{cell.n_networks:,}",
            f"{found.mean:.2%} ± {found.mean - found.low:.2%}", f"{found.std:.1%}",
            "" if loss is None else f"{np.nanmean(loss):.3f}",
            f"{estimate.minus_log2:.2f} ({estimate.minus_log2_low:.2f} to "
            f"{estimate.minus_log2_high:.2f})" if drawn
            else f"{estimate.probability:.1%} ({estimate.low:.1%} to {estimate.high:.1%})",
            seconds(cell),
        ])  # fmt: skip
    return table(rows) + "\n\n± is the 95 % interval of the mean over networks.\n"


def several(study: StudyFolder) -> str:
    """A row a width and N: means over data seeds."""
    groups: dict[tuple[str, int, str], list[Cell]] = defaultdict(list)
    for cell in study.cells():
        if cell.n_train in FEW:
            groups[str(cell.architecture), cell.n_train, cell.way].append(cell)
    rows = [["architecture", "N", "guess and check: accuracy", "-log2 P", "networks",
             "SGD: accuracy", "success", "networks"]]  # fmt: skip
    for name, n_train in dict.fromkeys((name, n) for name, n, _ in groups):
        drawn = groups[name, n_train, "guess-and-check"]
        trained = groups[name, n_train, "sgd"]
        bits = [c.estimate.minus_log2 for c in drawn if c.estimate.minus_log2 is not None]
        success = [c.estimate.probability for c in trained if c.estimate.probability is not None]
        rows.append([
            name, str(n_train), over_seeds(drawn), f"{np.mean(bits):.2f}" if bits else "",
            f"{sum(c.n_networks for c in drawn):,}", over_seeds(trained),
            f"{np.mean(success):.1%}" if success else "",
            f"{sum(c.n_networks for c in trained):,}",
        ])  # fmt: skip
    note = "Means over the data seeds that have the networks; ± is the standard error over them."
    return table(rows) + f"\n\n{note}\n"


def over_seeds(cells: Sequence[Cell]) -> str:
    """The mean of the data seeds' means, with its standard error."""
    means = [float(cell.test_accuracy.mean()) for cell in cells if cell.n_networks]
    if len(means) < 2:
        return "".join(f"{mean:.2%}" for mean in means)
    return f"{np.mean(means):.2%} ± {np.std(means, ddof=1) / len(means) ** 0.5:.2%}"


def seconds(cell: Cell) -> str:
    """What the cell's file took."""
    return f"{cell.about['elapsed_s']:.0f} s" if "elapsed_s" in cell.about else ""


def times(study: StudyFolder) -> str:
    """Seconds of work a way and architecture, and in sum."""
    spent: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for cell in study.cells():
        if "elapsed_s" in cell.about:
            spent[str(cell.architecture), way(cell)][cell.about["file"]] = cell.about["elapsed_s"]
    rows = [["architecture", "", "files", "time"]]
    total: dict[str, float] = defaultdict(float)
    for (name, how), files in spent.items():
        rows.append([name, how, str(len(files)), minutes(sum(files.values()))])
        total[how] += sum(files.values())
    rows += [["all", how, "", minutes(value)] for how, value in total.items()]
    return table(rows) + "\n"


def minutes(value: float) -> str:
    """Seconds as minutes."""
    return f"{value / 60:.1f} min"


def verdict(study: StudyFolder) -> str:
    """The claims that were tested, and the slopes."""
    found = study.verdict()
    claims = [row for row in found.claims_table() if row[3] != "not tested"]
    slopes = found.table(every_n=False)
    parts = [table(claims)] if len(claims) > 1 else []
    return "\n\n".join([*parts, *([table(slopes)] if len(slopes) > 1 else [])]) + "\n"


def problems(study: StudyFolder) -> str:
    """Cells with fewer networks than were asked for."""
    found = [cell for cell in study.cells() if cell.problem]
    if not found:
        return "Every cell has all the networks that were asked for.\n"
    groups: dict[tuple[str, str, str, int, str], list[int]] = defaultdict(list)
    for cell in found:
        name = way(cell), str(cell.architecture), cell.prior, cell.data_seed, cell.problem
        groups[name].append(cell.n_train)
    lines = [
        f"- {how}, {name}, {prior}, data seed {seed}, N = {', '.join(map(str, n))}: {problem}"
        for (how, name, prior, seed, problem), n in groups.items()
    ]
    return "\n".join(lines) + "\n"


def draw(study: StudyFolder, name: str, kind: str) -> str:
    """Draw and save a figure; the line that shows it."""
    cells = study.cells()
    if kind in ("width", "depth"):
        figure = figures.curves(cells, over="width" if kind == "width" else "depth")
    elif kind == "boxes":
        figure = figures.boxes(cells, n_train=16)
    else:
        figure = figures.histogram(cells, n_train=16, loss=kind)  # type: ignore[arg-type]
    path = ROOT / "docs" / "images" / f"{name}.png"
    figures.save(figure, path, overwrite=True)
    return f"![{name}](images/{name}.png)\n"


def main() -> None:
    """Fill the page."""
    folder = Path(sys.argv[1])
    studies = {name: biasgpu.open_study(folder / name) for name in ("fig1", "fig2", "fig3", "fig5")}
    blocks: dict[str, str] = {}
    for name, study in studies.items():
        blocks[f"{name} table"] = several(study) if name == "fig3" else single(study)
        blocks[f"{name} verdict"] = verdict(study)
        blocks[f"{name} time"] = times(study)
        blocks[f"{name} problems"] = problems(study)
    blocks["fig1 figure"] = draw(studies["fig1"], "results-fig1", "normalized")
    blocks["fig2 figure"] = draw(studies["fig2"], "results-fig2", "normalized")
    blocks["fig2 weight figure"] = draw(studies["fig2"], "results-fig2-weight", "weight-normalized")
    blocks["fig3 figure"] = draw(studies["fig3"], "results-fig3", "width")
    blocks["fig3 boxes"] = draw(studies["fig3"], "results-fig3-boxes", "boxes")
    blocks["fig5 figure"] = draw(studies["fig5"], "results-fig5", "normalized")
    page = PAGE.read_text()
    for name in re.findall(r"<!-- (fig[^>]*) -->", page):
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)"
        text = blocks[name]
        page = re.sub(pattern, lambda m, t=text: m[1] + t + m[2], page, flags=re.S)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
