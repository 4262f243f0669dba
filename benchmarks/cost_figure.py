"""The figure of cost against width, from results.csv alone: `python -m benchmarks.cost_figure`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cost, records
from biasgpu.figures.style import COLOURS, MARKERS, SETTINGS, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATH = Path(__file__).parent.parent / "docs" / "images" / "deferred-cost.png"
LINES = {"deferred": "-", "direct": "--"}


def draw(rows: Sequence[Mapping[str, str]]) -> Figure:
    """Microseconds a draw against the width of both hidden layers, on logarithmic axes.

    Args:
        rows: of results.csv; those of other works are left out.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        axes = figure.subplots()
        for place, (method, (widths, costs)) in enumerate(cost.curves(rows).items()):
            label, slope = f"method {method}", cost.slope(widths, costs)
            if slope == slope:
                label += f": slope {slope:.2f} from width {cost.WIDE:,}"
            axes.plot(
                widths, costs, LINES[method], color=COLOURS[place], marker=MARKERS[place],
                markersize=4, linewidth=1.2, label=label,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda width, _: f"{width:,.0f}")
        axes.set_xlabel("width of two hidden layers")
        axes.set_ylabel("µs a draw")
        axes.tick_params(axis="x", labelsize=7)
        figure.legend(loc="outside upper left", fontsize=7)  # no corner is free of lines
    return figure


if __name__ == "__main__":
    found = records.latest(records.read(), lambda work: work.endswith("-cost-256"))
    sys.stdout.write(f"{save(draw(found), PATH, overwrite=True)}\n")
