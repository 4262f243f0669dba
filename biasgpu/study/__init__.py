"""Studies: guess and check beside an optimiser, over widths or depths, and what that says.

A definition (`definition`) lists cells; `jobs` says which files hold them and what their seeds are;
`runner` makes the files in a folder (`folder`), one after the other (`work`); `load` and `reading`
turn files into cells; figures and verdicts are made of these.
"""

from __future__ import annotations

from biasgpu.study.api import compare
from biasgpu.study.cells import Cell
from biasgpu.study.definition import Study
from biasgpu.study.families import family
from biasgpu.study.load import StudyFolder, open_study

__all__ = ["Cell", "Study", "StudyFolder", "compare", "family", "open_study"]
