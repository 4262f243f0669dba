"""Experiments: published ones and one's own, from a definition file to figures and a report.

A definition (`definition`, read by `text`) names studies, claims and figures. `names` and
`catalogue` know the published ones, `data` whether they can be made here. `api` plans (`plan`,
`probe`), makes the studies in a folder (`folder`) and ends with `finish`, which draws, tabulates
and writes the `report`.
"""

from __future__ import annotations

from biasgpu.experiments.api import plan_of, report, reproduce, run_definition
from biasgpu.experiments.catalogue import Entry
from biasgpu.experiments.catalogue import catalogue as list
from biasgpu.experiments.definition import Definition
from biasgpu.experiments.names import Published, names, published
from biasgpu.experiments.plan import Plan
from biasgpu.experiments.stored import Experiment, open_experiment

__all__ = [
    "Definition",
    "Entry",
    "Experiment",
    "Plan",
    "Published",
    "list",
    "names",
    "open_experiment",
    "plan_of",
    "published",
    "report",
    "reproduce",
    "run_definition",
]
