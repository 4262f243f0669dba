"""Definitions as text: read from TOML, and written so that reading gives the same again."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from biasgpu.errors import UsageError, unknown
from biasgpu.experiments.definition import ONLY_PART, Definition, checked_scale, checked_time
from biasgpu.results.paths import cannot_read
from biasgpu.study import Study
from biasgpu.study.jobs import jobs
from biasgpu.study.updates import family_of

SUFFIX = ".toml"
_MAX_BYTES = 1 << 20
_NO_LIMIT = {"time_s": float("inf")}


def parse(text: str, name: str) -> Definition:
    """The definition that a text holds.

    Args:
        text: TOML.
        name: what to call it in errors: a path, or a published name.

    Raises:
        UsageError: it is no TOML, or no definition.
    """
    try:
        config = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} cannot be read as TOML: {error}.",
            why="it says what the experiment is about.",
            fix="correct that line; biasgpu reproduce fig5 --print-config shows a whole definition "
            "(biasgpu.experiments.published('fig5').text).",
        ) from error
    try:
        return Definition.from_config(config)
    except UsageError as error:
        raise UsageError(f"{name}: {error.what}", why=error.why, fix=error.fix) from error


def read(path: str | os.PathLike[str]) -> str:
    """The text of a definition file.

    Raises:
        UsageError: no such file, another ending, or no text.
        BiasgpuError: it cannot be read.
    """
    file = Path(path)
    if file.suffix.lower() != SUFFIX:
        raise unknown(
            "kind of definition file", file.suffix, (SUFFIX,), fix=f"name it {file.stem}{SUFFIX}"
        )
    if not file.is_file():  # a pipe among others, which might wait for ever
        raise UsageError(
            f"{file} is no file." if file.exists() else f"there is no file {file}.",
            why="a definition is a file of some lines of TOML.",
            fix="check the path; biasgpu reproduce fig5 --print-config > mine.toml makes one to "
            "begin from (biasgpu.experiments.published('fig5').text).",
        )
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise cannot_read(file, error) from error
    try:
        if len(content) > _MAX_BYTES:
            raise UnicodeError
        return content.decode("utf-8")
    except UnicodeError:
        raise UsageError(
            f"{file} is no definition: it is not text, or longer than {_MAX_BYTES:,} bytes.",
            why="a definition is some lines of TOML.",
            fix="check the path; docs/experiments.md explains the format.",
        ) from None


def with_limits(
    text: str, definition: Definition, scale: float | None, time_s: float | None = None
) -> str:
    """A definition's text with another scale, or time limit; comments stay where they are.

    Args:
        text: of `definition`.
        definition: what it says.
        scale: None leaves it.
        time_s: None leaves it.

    Raises:
        UsageError: it is no scale, or no time.
    """
    if time_s is not None and checked_time(time_s) != definition.time_s:
        text = _with("time_s", checked_time(time_s), text)
    if scale is not None and checked_scale(scale) != definition.scale:
        text = _with("scale", checked_scale(scale), text)
    return text


def _with(name: str, value: Any, text: str) -> str:
    """A definition's text, in which a number of its own, outside of all tables, is another."""
    line = f"{name} = {value!r}"
    config = tomllib.loads(text)
    if name not in config:
        return f"{line}\n{text}"
    # The first one: what stands outside of all tables comes before them.
    changed = re.sub(rf"(?m)^[ \t]*{name}[ \t]*=[^\n#]*", f"{line} ", text, count=1)
    if tomllib.loads(changed) == {**config, name: value}:
        return re.sub(rf"(?m)^{re.escape(line)} $", line, changed)
    import tomli_w  # an unusual way to write it: comments are lost, nothing else

    return tomli_w.dumps({**config, name: value})


def of_study(study: Study, title: str = "") -> str:
    """The definition of one study: what `biasgpu run` takes for the same study.

    Args:
        study: all settings that are not the default are written down.
        title: of the experiment.
    """
    import tomli_w

    config = {"title": title or f"A study of {study.task_name}", ONLY_PART: settings_of(study)}
    figures: list[dict[str, Any]] = []
    for name in ("width", "depth"):
        if len({one.options.get(name) for one in study.architectures}) > 1:
            figures.append({"kind": name})
    if study.measures:
        largest = {"loss": "normalized", "n": max(job.n_train for job in jobs(study))}
        figures.append({"kind": "histogram", **largest})
        if study.keep_epochs and study.inits:
            figures.append({"kind": "epochs", **largest})
    if study.gradient_norms and study.inits:
        figures.append({"kind": "gradient-norm"})
    if figures:
        config["figure"] = figures
    return tomli_w.dumps(config)


def settings_of(study: Study) -> dict[str, Any]:
    """The settings of a study as TOML can say them, those that are the default left out."""
    config, plain = study.to_config(), Study().to_config()
    kept = {name: value for name, value in config.items() if value != plain[name]}
    kept.setdefault("data", study.data)
    kept.setdefault("classes", list(study.classes or ()))
    kept.setdefault("n_train", study.n_train)
    family = _family(study, kept)
    if family:
        kept = {**family, **{key: value for key, value in kept.items() if key != "architectures"}}
    elif "architectures" in kept:
        kept["architectures"] = [_without_none(one) for one in kept["architectures"]]
    for name, value in _NO_LIMIT.items():
        if name in kept and kept[name] is None:
            kept[name] = value
    order = [one.name for one in fields(Study)]
    order[order.index("architectures") : order.index("architectures")] = list(family)
    named = {name: kept[name] for name in order if kept.get(name) is not None}
    return {name: value for name, value in named.items() if value is not None}


def _family(study: Study, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The architectures as a family, where that says the same; else nothing."""
    family = family_of(study)
    try:
        said = Study.from_config({**kept, "architectures": None, **family}) if family else None
    except UsageError:  # an architecture of one's own
        said = None
    return family if said == study else {}


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
