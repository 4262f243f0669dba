"""How figures look and how they are saved: readable in print, and without colour."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biasgpu.errors import BiasgpuError, RefusedError, unknown
from biasgpu.results.paths import refuse_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by everyone; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
FULL_WIDTH_IN, COLUMN_WIDTH_IN = 7.0, 3.4  # of a page with two columns
NOTE_SIZE = 6.5
FORMATS = (".png", ".pdf", ".svg")
DPI = 200
# Without the date, a figure of the same cells is the same file.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "biasgpu",  # names inside the file are the same every time
    "pdf.fonttype": 42,
}


def sequential(n: int) -> list[str]:
    """Colours of n ordered levels, dark to light: evenly far apart in grey and to the colour-blind.

    Source:
        viridis, by van der Walt and Smith, whose lightness rises evenly; its pale end is left out.
    """
    import matplotlib
    from matplotlib.colors import to_hex

    shades = matplotlib.colormaps["viridis"]
    return [to_hex(shades(0.82 * place / max(n - 1, 1))) for place in range(n)]


def save(figure: Figure, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a figure.

    Args:
        figure: from `biasgpu.figures`.
        path: ends in .png, .pdf or .svg; missing folders are made.
        overwrite: replace a file that exists.

    Returns:
        the path.

    Raises:
        UsageError: another ending.
        RefusedError: the file exists.
        BiasgpuError: it cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise refuse_folder(target, "curve.png")
    if target.suffix.lower() not in FORMATS:
        raise unknown(
            "figure format", target.suffix, FORMATS, fix=f"for example {target.stem or 'curve'}.png"
        )
    if os.path.lexists(target) and not overwrite:
        raise RefusedError(
            f"{target} exists.",
            why="a figure is not replaced unless that is asked for.",
            fix="choose another name, or overwrite=True (--overwrite).",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(rendered(figure, target.suffix.lower().lstrip(".")))
    except OSError as error:
        raise BiasgpuError(
            f"{target} could not be written: {(error.strerror or str(error)).lower()}.",
            why="the operating system refused.",
            fix="check the folder and its permissions.",
        ) from error
    return target


def rendered(figure: Figure, form: str) -> bytes:
    """A figure as the content of a file: the same for the same figure.

    Args:
        figure: from `biasgpu.figures`.
        form: "png", "pdf" or "svg".
    """
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(stream, format=form, dpi=DPI, metadata=METADATA.get(form))
    return stream.getvalue()
