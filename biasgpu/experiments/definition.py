"""A definition: what an experiment shows, its studies, and the figures it draws of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.experiments.checks import check_keys, known_text, text, wrong
from biasgpu.experiments.drawing import FigureSpec
from biasgpu.study import Study
from biasgpu.study.claims import ALIKE, DEEPER, WIDER_SGD, WIDTH_DRAWN
from biasgpu.study.definition import FAMILY
from biasgpu.study.settings import optional_positive

CLAIMS = (WIDER_SGD, WIDTH_DRAWN, DEEPER, ALIKE)
MOST_SCALE = 1e6  # beyond, counts are no longer those that anybody makes
LEAST = 5  # networks that a scaled count does not go below
SCALED = ("fits", "trained", "candidates", "networks")
KEYS = (
    *("title", "source", "shows", "claims", "scale", "time_s"),
    *("study", "part", "figure", "otherwise"),
)
ONLY_PART = "study"  # the folder of an experiment that is one study


@dataclass(frozen=True)
class Part:
    """One study of an experiment.

    Attributes:
        name: its folder in that of the experiment: "study", or "study-" and the part's name.
        study: at the published counts.
    """

    name: str
    study: Study


@dataclass(frozen=True)
class Definition:
    """What a definition file says.

    Attributes:
        title: in a line.
        source: where it was published; "" for an experiment of one's own.
        shows: what it shows, in sentences.
        claims: those under test, as `biasgpu.study.claims` words them.
        scale: multiplies the counts of networks (`fits`, `trained` and their limits).
        parts: its studies, unscaled.
        figures: what is drawn of their cells.
        otherwise: settings of a study that replace those of the parts where their data are not at
            hand; empty for none.
        time_s: at most so many seconds a file, infinity for no limit, in place of what the studies
            say; None leaves that.
    """

    title: str
    source: str
    shows: str
    claims: tuple[str, ...]
    scale: float
    parts: tuple[Part, ...]
    figures: tuple[FigureSpec, ...]
    otherwise: tuple[tuple[str, Any], ...] = ()
    time_s: float | None = None

    def studies(self, *, replaced: bool = False) -> dict[str, Study]:
        """The studies by the names of their folders, scaled.

        Args:
            replaced: with the settings of `otherwise`.

        Raises:
            UsageError: these settings cannot be.
        """
        changed = dict(self.otherwise) if replaced else {}
        if self.time_s is not None:
            changed["time_s"] = self.time_s
        return {
            part.name: scaled(
                Study.from_config({**part.study.to_config(), **changed}) if changed else part.study,
                self.scale,
            )
            for part in self.parts
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Definition:
        """The definition that a file holds.

        Args:
            config: as `tomllib` reads it; see docs/experiments.md.

        Raises:
            UsageError: an unknown key, a wrong type, or a study that cannot be.
        """
        _check_top(config)
        title = text("title", config.get("title", ""))
        figures = tuple(
            FigureSpec.from_config(one, place)
            for place, one in enumerate(_tables("figure", config.get("figure", [])), start=1)
        )
        otherwise = _table("otherwise", config.get("otherwise", {}))
        made = cls(
            title=title,
            source=text("source", config.get("source", "")),
            shows=text("shows", config.get("shows", "")),
            claims=_claims(config.get("claims", [])),
            scale=checked_scale(config.get("scale", 1.0)),
            parts=_parts(_table("study", config["study"]), config.get("part", [])),
            figures=figures,
            otherwise=tuple(otherwise.items()),
            time_s=checked_time(config.get("time_s")),
        )
        made.studies(replaced=True)  # refused now rather than where they are needed
        there = {n for part in made.parts for n in _points(part.study)}
        for spec in figures:
            spec.check(there, [part.study for part in made.parts])
        return made


def scaled(study: Study, scale: float) -> Study:
    """A study with its counts of networks multiplied, none that is asked for below `LEAST`.

    Args:
        study: at the counts written down.
        scale: above 0, up to `MOST_SCALE`. Data seeds, N, epochs and time limits stay; limits of
            candidates and of trained networks go with the networks that they are for.
    """
    if scale == 1.0:
        return study
    counts = {}
    for name in SCALED:
        count = getattr(study, name)
        if count is not None:
            counts[name] = max(min(LEAST, count), round(count * scale))
    return replace(study, **counts)


def checked_scale(scale: Any) -> float:
    """A scale as a number.

    Raises:
        UsageError: it is none, or not above 0, or beyond all measure.
    """
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not number or not 0.0 < scale <= MOST_SCALE:
        shown = repr(scale)
        raise UsageError(
            f"scale is {shown[:40]}{'...' * (len(shown) > 40)}; it must be a number above 0, up to "
            f"{MOST_SCALE:g}.",
            why="it multiplies the counts of networks.",
            fix="for example scale=0.1 (--scale 0.1) for a tenth of them.",
        )
    return float(scale)


def checked_time(time_s: Any) -> float | None:
    """A time limit as a number of seconds, infinity for none; None stays.

    Raises:
        UsageError: it is no number, or not above 0.
    """
    if time_s == math.inf:
        return math.inf
    return optional_positive("time_s", time_s, "a file's networks are found in that time", "60.0")


def _check_top(config: Any) -> None:
    if not isinstance(config, Mapping):
        raise wrong("a definition", config, "a table", 'title = "..."')
    settings = {*(one.name for one in fields(Study)), *FAMILY}
    for key in config:
        if key not in KEYS and key in settings:
            raise UsageError(
                f"{key} is a setting of a study, and stands outside of [study].",
                why=f"the keys of a definition are {', '.join(KEYS)}.",
                fix=f"write [study] on a line before {key} (docs/experiments.md).",
            )
    check_keys("key", "a definition", config, KEYS)
    if "study" not in config:
        raise UsageError(
            "the definition has no [study].",
            why="it says which networks are found.",
            fix='write, for example, [study], and below it arch = "lenet" and '
            'widths = ["1/6", "4/6"] (docs/experiments.md).',
        )


def _claims(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong("claims", value, "a list of texts", f'claims = ["{WIDER_SGD}"]')
    return tuple(dict.fromkeys(known_text("claim", one, CLAIMS) for one in value))


def _parts(shared: Mapping[str, Any], given: Any) -> tuple[Part, ...]:
    tables = _tables("part", given)
    if not tables:
        return (Part(ONLY_PART, _study("[study]", shared)),)
    found: dict[str, Part] = {}
    for place, one in enumerate(tables, start=1):
        settings = dict(one)
        name = settings.pop("name", None)
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9][A-Za-z0-9.-]{0,39}", name):
            raise wrong(f"name of part {place}", name, "letters, digits, dots and dashes",
                        'name = "n4"')  # fmt: skip
        if name in found:
            raise UsageError(
                f"two parts are called {name}.",
                why="each has a folder of its own.",
                fix=f'give one of them another name: name = "{name}-2".',
            )
        own = any(key in settings for key in FAMILY)
        kept = {key: value for key, value in shared.items() if not (own and key == "architectures")}
        study = _study(f"part {name}", {**kept, **settings})
        found[name] = Part(f"{ONLY_PART}-{name}", study)
    return tuple(found.values())


def _study(where: str, settings: Mapping[str, Any]) -> Study:
    try:
        return Study.from_config(settings)
    except BiasgpuError as error:
        raise type(error)(f"{where}: {error.what}", why=error.why, fix=error.fix) from error
    except TypeError as error:  # a list of tables, say, where a number is expected
        raise UsageError(
            f"{where}: a setting is of a wrong kind: {error}.",
            why="the settings are those of biasgpu.Study.",
            fix="docs/studies.md has examples, biasgpu compare --help explains each setting.",
        ) from error


def _tables(name: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise wrong(name, value, f"one table or several, each below [[{name}]]", f"[[{name}]]")
    return value


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(name, value, f"a table, below [{name}]", f"[{name}]")
    return value


def _points(study: Study) -> set[int]:
    """The N that its cells have: networks with batch norms have no smaller ones in one pass."""
    if not study.priors or all(one.coupled for one in study.architectures):
        return set(study.n)
    return {*study.n, *range(study.n_classes, study.n_train + 1, study.n_classes)}
