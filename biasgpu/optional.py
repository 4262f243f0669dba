"""Columns that rows have only where they were asked for: what is to know of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class OptionalColumn:
    """What is to know of a column that rows have only where it was asked for.

    Args:
        name: of the column, in `Fits` and in results files.
        dtype: of its values.
        labels: what each axis of a row counts; none for a single number.
        units, description: for the reader of a results file.
        least: no value is below it; None for any number.
        gaps: whether a value may be missing (NaN) or infinite.
    """

    name: str
    dtype: np.dtype[Any]
    labels: tuple[str, ...]
    units: str
    description: str
    least: float | None
    gaps: bool

    def problem(self, values: npt.NDArray[Any]) -> str:
        """What is wrong with some values of the column, in words; "" if nothing is."""
        if values.dtype.kind == "f" and not self.gaps and not np.isfinite(values).all():
            return f"a value of {self.name} is infinite or not a number"
        if self.least is not None and (values < self.least).any():
            return f"a value of {self.name} lies below {self.least:g}"
        return ""


def about(
    dtype: type,
    labels: tuple[str, ...],
    units: str,
    description: str,
    *,
    least: float | None = None,
    gaps: bool = False,
) -> dict[str, Any]:
    """The metadata of a field of `Fits` that is an optional column; see `OptionalColumn`."""
    return {"about": (np.dtype(dtype), labels, units, description, least, gaps)}
