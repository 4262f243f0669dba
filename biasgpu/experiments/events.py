"""What happens while an experiment is made; the events of its studies come in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biasgpu.experiments.plan import Plan


@dataclass(frozen=True)
class Probing:
    """Short runs begin that tell how long everything will take.

    Attributes:
        n_files: that are to be made.
    """

    n_files: int


@dataclass(frozen=True)
class Planned:
    """It is known what is to be done.

    Attributes:
        title: of the experiment.
        folder: where it is made.
        scale: of its counts.
        plan: what is to be done.
        note: what is to be known of its data; "" for nothing.
    """

    title: str
    folder: Path
    scale: float
    plan: Plan
    note: str


@dataclass(frozen=True)
class Stopped:
    """The user stopped it; what was found is committed. `KeyboardInterrupt` is raised next.

    Attributes:
        folder: of the experiment, to go on with.
    """

    folder: Path


@dataclass(frozen=True)
class Drawing:
    """All files are made, or were tried; tables, figures and the report follow.

    Attributes:
        folder: of the experiment.
    """

    folder: Path


@dataclass(frozen=True)
class PartFailed:
    """A study of several cannot be made here, since its data are not to be had.

    Attributes:
        part: its folder.
        problem: why.
    """

    part: str
    problem: str
