"""Write docs/gallery.md from experiments: `python tools/gallery.py FOLDER`.

FOLDER holds experiments that `biasgpu reproduce NAME` made, each in a folder of its name; figures
go to docs/images/gallery. Nothing on the page is written by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib

from biasgpu import open_experiment
from biasgpu.experiments.catalogue import Entry, catalogue
from biasgpu.experiments.facts import Facts, facts
from biasgpu.experiments.report import repeat_command
from biasgpu.experiments.stored import Experiment

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images" / "gallery"
SIGNS = {"holds": "holds", "does not hold": "**does not hold**", "not decided": "not decided"}
matplotlib.use("agg")

HEAD = """# Gallery: the published figures, made anew

Every row of the paper's figures (Peleg and Hein, ICML 2024) is one name for `biasgpu reproduce`
([experiments.md](experiments.md)). Here is what was reproduced, at which scale, and whether the
claim held. Scale multiplies the published counts of networks (never below 5 a cell); data seeds
and N stay. With few networks the intervals are wide: "not decided" means that they hold too much.
For figures 1, 2, 3 and 5 at full counts see [results.md](results.md).

This page is written by `python tools/gallery.py FOLDER` from the results files of the commands on
it. Time is the work that the files record, on two cores that other work shared: an upper bound.
MNIST is real; the training images are chosen from 5,000 of the official ones (docs/results.md),
not the published ones. CIFAR-10 was not at hand: experiments of it alone are in the list, and were
not run; of those of both data sets the MNIST part was. Official MNIST files are found by
`--data-dir FOLDER` or BIASGPU_DATA_DIR.
"""


def verdict(experiment: Experiment) -> list[str]:
    """The claims of the definition, each with what was found."""
    found = experiment.verdict
    lines: list[str] = []
    for text in experiment.definition.claims:
        claims = [one for one in (found.claims if found else []) if one.text == text]
        decisions = [one for one in claims if one.decision in SIGNS]
        if not decisions:
            lines.append(f"{text}: not tested")
        lines += [f"{text}: {SIGNS[one.decision]}" for one in decisions]
    return list(dict.fromkeys(lines))


def command(experiment: Experiment, only: list[str]) -> str:
    """What makes it again."""
    text = repeat_command((experiment.path / "experiment.toml").read_text(encoding="utf-8"))
    return "\n".join(f"{text} --only '{one}'" for one in only) if only else text


def duration(seconds: float) -> str:
    """For the table."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def figures(experiment: Experiment, name: str) -> Iterator[str]:
    """Its figures as they are on the page; copies them there."""
    for path in sorted((experiment.path / "figures").glob("*.png")):
        IMAGES.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, IMAGES / f"{name}-{path.name}")
        yield f"![{name}: {path.stem}](images/gallery/{name}-{path.name})"


def row(entry: Entry, experiment: Experiment | None, known: Facts | None) -> str:
    """Of the table."""
    if experiment is None or known is None:
        why = "no CIFAR-10 here" if "CIFAR-10" in entry.title else "not run"
        if "MNIST and CIFAR-10" in entry.title:  # figures 3 and 4 show its MNIST part
            why = "not run; its MNIST part is fig3's or fig4's"
        return f"| {entry.name} | {entry.title} | {why} | | | |"
    networks = sum(cell.n_networks for cell in experiment.cells)
    cells = f"{known.n_complete} of {known.n_files}"
    return (
        f"| [{entry.name}](#{entry.name}) | {entry.title} | {experiment.definition.scale:g} | "
        f"{networks:,} in {cells} files | {duration(known.elapsed_s)} | "
        f"{'; '.join(verdict(experiment)) or 'no claim'} |"
    )


def section(entry: Entry, experiment: Experiment, known: Facts, only: list[str]) -> str:
    """An experiment on the page."""
    lines = [f"## {entry.name}", experiment.definition.shows, ""]
    lines += ["```sh", command(experiment, only), "```", ""]
    lines += [*figures(experiment, entry.name), ""]
    lines += [f"- {line}" for line in verdict(experiment)]
    lines.append(f"- {duration(known.elapsed_s)} of work; {', '.join(known.engines)}")
    missing = known.n_files - known.n_complete
    if missing:
        lines.append(
            f"- {missing} of {known.n_files} files have fewer networks than asked for, or were "
            "left out by `--only`: the experiment's report names each."
        )
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write the page."""
    # Which files each was asked for, where not all: {"fig3-resnet4-mnist": ["*-n4.h5"]}.
    chosen = folder / "only.json"
    only: dict[str, list[str]] = json.loads(chosen.read_text()) if chosen.exists() else {}
    shutil.rmtree(IMAGES, ignore_errors=True)
    rows = ["| name | shows | scale | networks | time | claims |", "| --- " * 6 + "|"]
    sections: list[str] = []
    for entry in catalogue():
        place = folder / entry.name
        made = (place / "outputs.json").exists()
        experiment = open_experiment(place) if made else None
        known = facts(experiment) if experiment else None
        rows.append(row(entry, experiment, known))
        if experiment and known:
            sections.append(section(entry, experiment, known, only.get(entry.name, [])))
    PAGE.write_text("\n".join([HEAD, *rows, "", *[f"{one}\n" for one in sections]]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
