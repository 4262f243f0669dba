"""Fill docs/chiang.md from studies: `python tools/chiang_page.py FOLDER`.

FOLDER holds the studies widths, sgd, pattern and greedy, made by the commands on that page. What
stands between `<!-- NAME -->` and `<!-- end -->` is replaced; the figure goes to docs/images. The
table of docs/training.md is measured anew, which takes minutes; official MNIST files are looked for
in $BIASGPU_DATA_DIR.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

import biasgpu
from biasgpu import figures
from biasgpu.study.bins import bins_table, loss_bins
from biasgpu.study.cells import Cell
from biasgpu.training.experiment import Training
from biasgpu.training.judge import judge
from biasgpu.training.recipe import SEARCHES, Recipe
from biasgpu.training.trainers import make

ROOT = Path(__file__).parent.parent
PAGE, TRAINING = ROOT / "docs" / "chiang.md", ROOT / "docs" / "training.md"
STUDIES = ("widths", "sgd", "pattern", "greedy")
# What guess and check did not fill in the published table, at N = 16: width, and up to which loss.
UNFILLED = {"4/5": 0.40, "9/10": 0.50, "1": 0.55}
matplotlib.use("agg")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the header."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def found(cells: Sequence[Cell]) -> str:
    """What was tried and found, a row a cell."""
    rows = [["architecture", "found by", "tried", "networks", "-log2 P, or success", "time"]]
    for cell in cells:
        estimate, drawn = cell.estimate, cell.way == "guess-and-check"
        share = estimate.minus_log2 if drawn else estimate.probability
        rows.append([
            str(cell.architecture), "guess and check" if drawn else cell.optimizer,
            f"{estimate.n_candidates:,}", f"{cell.n_networks:,}",
            "" if share is None else f"{share:.2f}" if drawn else f"{share:.1%}",
            f"{cell.about['elapsed_s']:.0f} s",
        ])  # fmt: skip
    return table(rows)


def unfilled(cells: Sequence[Cell]) -> str:
    """The cells that the published guess and check left empty."""
    rows = [["architecture", "bin", "fits", "in the bin", "share of fits (95 %)"]]
    for row in loss_bins([cell for cell in cells if cell.way == "guess-and-check"]):
        width = str(row.architecture.options.get("width"))
        if row.high > UNFILLED.get(width, 0.0) + 1e-9:
            continue
        share = f"{row.share_low:.2g} to {row.share_high:.2g}"
        rows.append([
            str(row.architecture), f"{row.low:g} to {row.high:g}", f"{row.n_measured:,}",
            f"{row.n_networks:,}", share if row.n_networks else f"below {row.share_high:.2g}",
        ])  # fmt: skip
    return table(rows)


def speed() -> str:
    """What searches reach, and how fast."""
    task = biasgpu.task("mnist", classes=(7, 0), n_train=16, data_seed=200)
    marks, draws = (5, 10, 20), np.arange(48, dtype=np.uint64)
    rows = [["optimizer", "width", "from", *(f"success after {e} epochs" for e in marks),
             "us a proposal", "networks/s with stop_early"]]  # fmt: skip
    for optimizer in SEARCHES:
        for width in ("2/6", "3/6"):
            for init in ("uniform", "kaiming-uniform"):
                row: list[str] = []
                for early in (False, True):
                    recipe = Recipe(
                        optimizer, learning_rate=1.0, epochs=60 if early else marks[-1],
                        keep_epochs=() if early else marks[:-1], stop_early=early,
                    )  # fmt: skip
                    prior = biasgpu.priors.make(init)
                    training = Training(task, biasgpu.lenet(width), prior, recipe)
                    trainer = make(
                        "cpu", training.ensemble, task.x_train, task.y_train, recipe, threads=1
                    )
                    trainer.prepare()
                    start = time.process_time()
                    weights = trainer.train(draws).weights
                    spent = time.process_time() - start
                    trainer.close()
                    if early:
                        row.append(f"{len(draws) / spent:.0f}")
                        continue
                    for k in range(len(marks)):
                        prefix = judge(training, np.ascontiguousarray(weights[:, k])).prefix
                        row.append(f"{(prefix == task.n_train).mean():.0%}")
                    made = len(draws) * recipe.epochs * recipe.n_proposals
                    row.append(f"{1e6 * spent / made:.0f}")
                rows.append([optimizer, width, init, *row])
    return table(rows)


def fill(page: Path, parts: dict[str, str]) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, p=part: m[1] + p + m[2], text, flags=re.DOTALL)
        if count != 1:
            sys.exit(f"{page} has {count} places for {name}.")
    page.write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    """Fill the pages."""
    cells = [cell for name in STUDIES for cell in biasgpu.open_study(folder / name).cells()]
    image = ROOT / "docs" / "images" / "chiang-bins.png"
    figures.save(figures.bins(cells), image, overwrite=True)
    parts = {
        "found": found(cells),
        "bins": table(bins_table(loss_bins(cells))),
        "unfilled": unfilled(cells),
    }
    fill(PAGE, parts)
    fill(TRAINING, {"speed": speed()})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
