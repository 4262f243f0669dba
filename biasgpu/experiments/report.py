"""The report of an experiment: one page of HTML that needs nothing beside it.

No clock and no path enters it: files that are the same give the same page. Times are those that
the results files hold, each in an element `<time>`.
"""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from biasgpu.experiments import folder as folders
from biasgpu.experiments.drawing import FigureSpec
from biasgpu.experiments.names import names, published
from biasgpu.study.axes import epochs_said
from biasgpu.study.tables import points

if TYPE_CHECKING:
    from biasgpu.experiments.facts import Facts
    from biasgpu.experiments.stored import Experiment
    from biasgpu.study.claims import Claim

TEMPLATE = "report.html"
MOST_OPEN = 40  # rows of a table that is shown unasked
DECIDED = {
    "holds": ("holds", "✓", "The claim holds here."),
    "does not hold": ("fails", "✗", "The claim does not hold here."),
    "not decided": ("open", "?", "Cannot tell: the interval decides neither way."),
    "not tested": ("open", "-", "Not tested: there are no cells for it."),
}


@dataclass(frozen=True)
class Drawn:
    """A figure of the report.

    Attributes:
        spec: what was asked for.
        svg: the figure; empty if it could not be drawn.
        problem: why it could not be.
    """

    spec: FigureSpec
    svg: bytes
    problem: str = ""

    @property
    def source(self) -> str:
        """The figure as the address of an image."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"

    @property
    def alt(self) -> str:
        """What it shows, for those who do not see it."""
        says = self.spec.says[:1].upper() + self.spec.says[1:]
        return f"{says}. The table of cells below has the numbers."


def page(
    experiment: Experiment,
    drawn: Sequence[Drawn],
    rows: Sequence[Mapping[str, Any]],
    facts: Facts,
) -> str:
    """The page.

    Args:
        experiment: in its folder.
        drawn: its figures.
        rows: its table, a row a cell.
        facts: of its files.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = folders.stored_text(experiment.path)
    definition, verdict = experiment.definition, experiment.verdict
    source = (resources.files("biasgpu.experiments") / TEMPLATE).read_text(encoding="utf-8")
    claims = list(verdict.claims) if verdict else []
    return environment.from_string(source).render(
        definition=definition,
        text=text,
        scale=f"{definition.scale:g}",
        studies=[_study(name, experiment.studies[name], part.study)
                 for name, part in ((part.name, part) for part in definition.parts)],
        verdicts=[_verdict(one) for text in definition.claims
                  for one in claims if one.text == text],
        others=[_verdict(one) for one in claims
                if one.text not in definition.claims and one.decision != "not tested"],
        drawn=drawn,
        slopes=verdict.table(every_n=True) if verdict and verdict.slopes else [],
        method=_method(verdict),
        rows=[_row(row) for row in rows],
        open_table=len(rows) <= MOST_OPEN,
        several=len(experiment.studies) > 1,
        n_networks=f"{sum(row['n_networks'] for row in rows):,}",
        missing=[(_cell_name(row), row["problem"]) for row in rows if row["problem"]],
        fixes=list(dict.fromkeys(
            problem.get("fix", "") for problem in experiment.problems.values()
        )),
        facts=facts,
        elapsed=_duration(facts.elapsed_s),
        repeat=repeat_command(text),
        folder=experiment.path.resolve().name,
    )  # fmt: skip


def repeat_command(text: str) -> str:
    """The command that makes an experiment again, from its definition."""
    config = tomllib.loads(text)
    scale, time_s = config.pop("scale", 1.0), config.pop("time_s", None)
    limits = f" --scale {scale:g}" if scale != 1.0 else ""
    limits += f" --time {time_s:g}s" if time_s is not None else ""
    for name in names():
        if tomllib.loads(published(name).text) == config:
            return f"biasgpu reproduce {name}{limits}"
    return f"biasgpu run {folders.DEFINITION} -o again/"


def _verdict(claim: Claim) -> dict[str, Any]:
    kind, sign, said = DECIDED[claim.decision]
    several = len(claim.found) > 1
    found = [
        f"{name}: {points(quantity, claim.unit)}" if several else points(quantity, claim.unit)
        for name, quantity in claim.found.items()
    ]
    return {
        "kind": kind,
        "sign": sign,
        "said": said,
        "text": claim.text,
        "where": claim.where,
        "found": "; ".join(found),
        "rule": claim.rule,
        "note": claim.note,
    }


def _study(name: str, study: Any, full: Any) -> dict[str, Any]:
    counts = []
    if study.priors:
        counts.append(f"{study.fits:,} by guess and check{_of(study.fits, full.fits)}")
    if study.inits:
        counts.append(f"{study.trained:,} by {study.optimizer}{_of(study.trained, full.trained)}")
    rates = [
        f"{init}: {'as published' if (rate := study.rate_from(init)) is None else f'{rate:g}'}"
        for init in study.inits
    ]
    return {
        "name": name,
        "task": study.task_name,
        "data_seeds": ", ".join(map(str, study.data_seeds)),
        "selection": study.selection,
        "architectures": "; ".join(map(str, study.architectures)),
        "priors": ", ".join(study.priors) or "none",
        "inits": ", ".join(study.inits) or "none",
        "n": ", ".join(map(str, study.n)) if study.inits else f"up to {study.n_train}",
        "counts": "; ".join(counts) + ", for each cell",
        "rates": "; ".join(rates) or "none",
        "epochs": study.epochs,
        "limit": "none" if study.time_s is None else f"{study.time_s:g} s a file",
    }


def _of(now: int, full: int) -> str:
    return "" if now == full else f" (instead of {full:,})"


def _method(verdict: Any) -> str:
    if verdict is None:
        return ""
    return (
        f"{100 * verdict.confidence:g} % intervals from {verdict.resamples:,} bootstrap resamples "
        f"of data seeds and then of networks (seed {verdict.seed})."
    )


def _row(row: Mapping[str, Any]) -> list[str]:
    """A cell as texts."""
    drawn = row["way"] == "guess-and-check"
    source = str(row["prior"])
    if not drawn and row["epochs"] is not None:
        source += f", {epochs_said(row['epochs'])}"
    name, factor, unit = ("minus_log2", 1.0, "") if drawn else ("probability", 100.0, " %")
    losses = [row["normalized_loss"], row["weight_normalized_loss"]]
    return [
        str(row["study"]),
        str(row["architecture"]),
        "guess and check" if drawn else "SGD",
        source,
        str(row["data_seed"]),
        str(row["n_train"]),
        f"{row['n_networks']:,}",
        _interval(row, "test_accuracy", 100.0, " %"),
        _interval(row, name, factor, unit),
        *("-" if loss is None else f"{loss:.3f}" for loss in losses),
    ]


def _interval(row: Mapping[str, Any], name: str, factor: float, unit: str) -> str:
    """A number with its interval, or the bound that there is."""
    value, low, high = (
        None if row[key] is None else factor * row[key]
        for key in (name, f"{name}_low", f"{name}_high")
    )
    if value is None:
        return "-" if low is None else f"above {low:.2f}{unit}"
    if low is None or high is None:
        return f"{value:.2f}{unit}"
    return f"{value:.2f}{unit} ({low:.2f} to {high:.2f})"


def _cell_name(row: Mapping[str, Any]) -> str:
    way = "guess and check" if row["way"] == "guess-and-check" else "SGD"
    found = f"{way}, {row['architecture']}, {row['prior']}"
    return f"{found}, data seed {row['data_seed']}, N = {row['n_train']}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
