"""What an experiment ends with: figures, a table, and the report, made from its files alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from biasgpu.errors import UsageError
from biasgpu.experiments.facts import facts
from biasgpu.experiments.report import Drawn, page
from biasgpu.experiments.stored import Experiment
from biasgpu.experiments.write import Outputs
from biasgpu.figures.style import rendered

FORMATS = ("svg", "png", "pdf")
COLUMNS = (
    *("study", "way", "architecture", "prior", "data_seed", "n_train", "epochs", "n_networks"),
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_accuracy_std"),
    *("normalized_loss", "weight_normalized_loss"),
    *("probability", "probability_low", "probability_high", "n_candidates"),
    *("minus_log2", "minus_log2_low", "minus_log2_high", "elapsed_s", "file", "problem"),
)


def finish(experiment: Experiment) -> Experiment:
    """Write figures, tables and report into the experiment's folder.

    The same files give the same bytes. What somebody changed by hand is kept as a backup.

    Raises:
        BiasgpuError: they cannot be written.
    """
    outputs = Outputs(experiment.path)
    cells = experiment.cells
    drawn = []
    for spec in experiment.definition.figures:
        try:
            figure = spec.draw(cells)
        except UsageError as error:
            drawn.append(Drawn(spec, b"", error.what))
            continue
        contents = {form: rendered(figure, form) for form in FORMATS}
        for form, content in contents.items():
            outputs.put(f"figures/{spec.name}.{form}", content)
        drawn.append(Drawn(spec, contents["svg"]))
    rows = table(experiment)
    outputs.put("table.csv", _csv(rows))
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    outputs.put("table.json", text.encode())
    outputs.put("report.html", page(experiment, drawn, rows, facts(experiment)).encode())
    return replace(experiment, outputs=tuple(outputs.written), kept_aside=tuple(outputs.kept_aside))


def table(experiment: Experiment) -> list[dict[str, Any]]:
    """One JSON-able row a cell, with the columns `COLUMNS`."""
    from biasgpu.study.table import describe

    return [
        _row(name, describe(cell)) for name, cells in experiment.parts.items() for cell in cells
    ]


def _row(part: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    accuracy, estimate = cell["test_accuracy"], cell["estimate"]
    found = {
        **cell,
        "study": part,
        "epochs": cell.get("epochs"),
        "test_accuracy": accuracy["mean"],
        "test_accuracy_low": accuracy["low"],
        "test_accuracy_high": accuracy["high"],
        "test_accuracy_std": accuracy["std"],
        "probability": estimate["probability"],
        "probability_low": estimate["low"],
        "probability_high": estimate["high"],
        **{name: estimate[name] for name in COLUMNS if name in estimate and "minus" in name},
        "n_candidates": estimate["n_candidates"],
        "elapsed_s": cell.get("elapsed_s"),
        "file": cell.get("file", ""),
    }
    return {name: found[name] for name in COLUMNS}


def _csv(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()
