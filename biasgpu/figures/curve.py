"""The curve: test accuracy, and the probability of a fit, against the number of training samples.

Source: figure 3 of Peleg and Hein, ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biasgpu.errors import UsageError
from biasgpu.figures.style import COLOURS, MARKERS, SETTINGS
from biasgpu.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS: tuple[Callable[[Run], str], ...] = (
    lambda run: str(run.architecture),
    lambda run: run.architecture.head,
    lambda run: run.architecture.bias_said,
    lambda run: str(run.prior),
    lambda run: f"{run.task.name} {' vs '.join(run.task.class_names)}",
    lambda run: f"data seed {run.task.config.get('data_seed', '-')}",
    lambda run: f"seed {run.seed}",
)


def curve(runs: Run | Sequence[Run], *, labels: Sequence[str] | None = None) -> Figure:
    """Two panels over N: mean test accuracy with its spread, and -log2 P with its interval.

    Where there are no fits at some N the line has a gap; where only a bound of P is known, an arrow
    starts at it. The dashed line is -log2 P = N: a classifier that guesses independently.

    Args:
        runs: one run or several.
        labels: one a run; None says what the runs differ in.

    Returns:
        a figure; `biasgpu.figures.save` writes it.

    Raises:
        UsageError: no runs, or not one label for each.
    """
    import matplotlib
    from matplotlib.figure import Figure

    several = [runs] if isinstance(runs, Run) else list(runs)
    if not several:
        raise UsageError(
            "there is no run to draw.",
            why="a figure has a line for each run.",
            fix="give one run at least.",
        )
    names = _labels(several) if labels is None else list(labels)
    if len(names) != len(several):
        raise UsageError(
            f"{len(names)} labels for {len(several)} runs.",
            why="each run has one label.",
            fix="give one label a run, in their order (--label, repeated), or none.",
        )
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        accuracy, probability = figure.subplots(1, 2)
        for place, run in enumerate(several):
            style = {
                "color": COLOURS[place % len(COLOURS)],
                "marker": MARKERS[place % len(MARKERS)],
                "markersize": 4,
                "linewidth": 1.2,
            }
            points = run.curve
            _draw_accuracy(accuracy, points, names[place], style)
            _draw_probability(probability, points, names[place], style)
        _finish(accuracy, probability, several)
    return figure


def _draw_accuracy(
    axes: Axes, points: list[dict[str, Any]], label: str, style: dict[str, Any]
) -> None:
    n = [point["n_train"] for point in points]
    mean = _numbers(point["test_accuracy"]["mean"] for point in points)
    std = np.nan_to_num(_numbers(point["test_accuracy"]["std"] for point in points))
    axes.plot(n, mean, label=label, **style)
    low, high = np.clip(mean - std, 0.0, 1.0), np.clip(mean + std, 0.0, 1.0)
    axes.fill_between(n, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _draw_probability(
    axes: Axes, points: list[dict[str, Any]], label: str, style: dict[str, Any]
) -> None:
    n = np.array([point["n_train"] for point in points])
    bits = _numbers(point["minus_log2_fit_probability"] for point in points)
    low = _numbers(point["interval"][0] for point in points)
    high = _numbers(point["interval"][1] for point in points)
    axes.plot(n, bits, label=label, **style)
    known = np.isfinite(bits) & np.isfinite(low) & np.isfinite(high)
    if known.any():
        # Rounding may put an end of a very narrow interval past the estimate.
        ends = np.maximum([bits - low, high - bits], 0.0)
        axes.errorbar(
            n[known], bits[known], ends[:, known], fmt="none", ecolor=style["color"], capsize=2
        )
    bound = ~np.isfinite(bits) & (low > 0)
    if bound.any():
        axes.errorbar(
            n[bound], low[bound], 0.6, fmt="none", ecolor=style["color"], lolims=True, capsize=2
        )


def _finish(accuracy: Axes, probability: Axes, runs: list[Run]) -> None:
    from matplotlib.ticker import MaxNLocator

    n_max = max(run.task.n_train for run in runs)
    probability.plot(
        [0, n_max], [0, n_max], "--", color="black", linewidth=1, label="independent guessing"
    )
    shares = {1.0 / run.task.n_classes for run in runs}
    if len(shares) == 1:
        accuracy.axhline(shares.pop(), color="black", linestyle=":", linewidth=1, label="chance")
    accuracy.set_ylabel("test accuracy")
    probability.set_ylabel(r"$-\log_2 P$(fit)")
    probability.set_ylim(bottom=0)
    for axes in (accuracy, probability):
        axes.set_xlabel("training samples N")
        axes.set_xlim(0, n_max * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=7)


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _labels(runs: list[Run]) -> list[str]:
    """What each run has that not all have; the architecture if they are alike or alone."""
    telling = [part for part in _PARTS if len({part(run) for run in runs}) > 1]
    return [", ".join(part(run) for part in telling or _PARTS[:1]) for run in runs]
