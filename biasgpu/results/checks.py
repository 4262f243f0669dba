"""What may be appended to a results file, and whether it holds the experiment one means."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from biasgpu.errors import RefusedError, UsageError
from biasgpu.fits import OPTIONAL, Fits
from biasgpu.results.commits import Commit
from biasgpu.results.layout import Layout

_DRAW_LIMIT = 1 << 64
_ABSENT = object()


def check_rows(fits: Fits, layout: Layout, last_index: int) -> None:
    """Refuse rows that do not continue a file.

    Args:
        fits: the new rows.
        layout: the file's structure.
        last_index: the last index in the file, -1 if there is none.

    Raises:
        UsageError: names what does not fit.
    """
    task, predictions = layout.task, fits.test_predictions
    if fits.n_classes != task.n_classes:
        raise UsageError(
            f"fits for {fits.n_classes} classes, but the task has {task.n_classes}.",
            why="a file holds the rows of one task.",
            fix="append rows that were made for this task.",
        )
    if (predictions is not None) != layout.keep_predictions:
        raise UsageError(
            "fits without predictions, but the file keeps them."
            if predictions is None
            else "fits with predictions, but the file keeps none.",
            why="all rows of a file have the same columns.",
            fix="give keep_predictions the same value in both places.",
        )
    if predictions is not None and predictions.shape[1] != task.n_test:
        raise UsageError(
            f"predictions for {predictions.shape[1]} test samples, but the task has {task.n_test}.",
            why="there is one prediction for each test sample.",
            fix="append rows that were made for this task.",
        )
    if fits.optional != dict(layout.optional):
        raise UsageError(
            f"fits with the optional columns {_listed(fits.optional)}, but the file has "
            f"{_listed(layout.optional)}.",
            why="all rows of a file have the same columns.",
            fix="append rows that were made for this file.",
        )
    if not len(fits):
        return
    for name in fits.optional:
        problem = OPTIONAL[name].problem(getattr(fits, name))
        if problem:
            raise UsageError(
                f"{problem}.",
                why="a file holds what can be read back and used.",
                fix="check where the values come from, or leave the column out.",
            )
    if predictions is not None and predictions.size and predictions.max() >= task.n_classes:
        raise UsageError(
            f"a prediction is class {predictions.max()} of {task.n_classes}.",
            why="a prediction is a class number, from 0 on.",
            fix="append rows that were made for this task.",
        )
    if fits.prefix.min() < 0 or fits.prefix.max() > task.n_train:
        raise UsageError(
            f"prefixes run from {fits.prefix.min()} to {fits.prefix.max()}.",
            why=f"the task has {task.n_train} training samples.",
            fix="append rows that were made for this task.",
        )
    if int(fits.index[0]) <= last_index or (fits.index[1:] <= fits.index[:-1]).any():
        raise UsageError(
            f"indices must increase strictly, from above {last_index}.",
            why="the order of the rows is part of a run's result.",
            fix="append batches in the order of their draws, each once.",
        )


def _listed(optional: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in optional.items()) or "none"


def check_totals(commit: Commit, previous: Commit) -> None:
    """Refuse totals that go backwards.

    Raises:
        UsageError: names the total.
    """
    if commit.prefix_counts.shape != previous.prefix_counts.shape:
        raise UsageError(
            f"prefix_counts has shape {commit.prefix_counts.shape}; it must have "
            f"{previous.prefix_counts.shape}: one total for each prefix from 0 to n_train.",
            why="they are counted over the prefixes of this task.",
            fix="give the sum of the prefix_counts of all batches so far.",
        )
    if not previous.next_draw <= commit.next_draw < _DRAW_LIMIT:
        raise UsageError(
            f"next_draw goes from {previous.next_draw} to {commit.next_draw}.",
            why="totals of a run only grow.",
            fix="append batches in the order of their draws, each once.",
        )
    if (commit.prefix_counts < previous.prefix_counts).any():
        raise UsageError(
            "prefix_counts goes down; it must hold totals over the whole run.",
            why="totals of a run only grow.",
            fix="give the sum of the prefix_counts of all batches so far.",
        )
    if not previous.elapsed_s <= commit.elapsed_s < np.inf:
        raise UsageError(
            f"elapsed_s goes from {previous.elapsed_s} to {commit.elapsed_s}.",
            why="totals of a run only grow.",
            fix="give the seconds of all batches so far.",
        )


def check_config(
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    path: str | os.PathLike[str],
    command: str = "biasgpu sample",
) -> None:
    """Refuse to go on with a file that holds another experiment.

    Args:
        stored: the file's configuration.
        given: the one asked for.
        path: the file, for the error.
        command: the command that goes on with it, for the error.

    Raises:
        RefusedError: names every setting that differs.
    """
    old, new = _flatten(_plain(stored)), _flatten(_plain(given))
    leaves = Counter(_leaf(key) for key in {*old, *new})
    differences = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if before is _ABSENT or now is _ABSENT or _differ(before, now):
            name = _leaf(key) if leaves[_leaf(key)] == 1 else ".".join(key)
            differences.append(f"{name} is {_word(before)} in the file, {_word(now)} now")
    if differences:
        raise RefusedError(
            f"{os.fspath(path)} holds another experiment: {'; '.join(differences)}.",
            why="a results file holds one experiment.",
            fix="write to a new file (-o other.h5, output=...), or go on with the stored settings: "
            f"{command} --resume {os.fspath(path)}",
        )


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    # Tuples become lists and so on, as they did in the file.
    return json.loads(json.dumps(dict(config)))


def _flatten(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict) or not value:
        return {key: value} if key else {}
    result: dict[tuple[str, ...], Any] = {}
    for name, part in value.items():
        result.update(_flatten(part, (*key, name)))
    return result


def _leaf(key: tuple[str, ...]) -> str:
    # The name of an architecture is its "architecture", not its "name".
    *above, last = key
    return above[-1] if above and last == "name" else last


def _differ(before: Any, now: Any) -> bool:
    # 1 and True are equal in Python, but not the same setting.
    return before != now or isinstance(before, bool) != isinstance(now, bool)


def _word(value: Any) -> str:
    if value is _ABSENT:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)
