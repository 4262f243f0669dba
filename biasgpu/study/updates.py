"""Two definitions of one study: what they differ in, and the one that has the cells of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from biasgpu.study.definition import FAMILY, Study

# Where the data lie, and how long it may take, do not change what a study is about.
FREE = ("data_dir", "candidates", "networks", "time_s")
GROWING = ("data_seeds", "architectures", "priors", "inits", "n", "keep_epochs", "trained")


def updated(stored: Study, settings: Mapping[str, Any]) -> Study:
    """A stored study with some settings changed.

    Args:
        stored: the study.
        settings: as `Study.from_config` takes them. Widths or depths alone are those of the stored
            family, if it has one.

    Raises:
        UsageError: an unknown setting, or a value that cannot be.
    """
    config = stored.to_config()
    given = dict(settings)
    if any(given.get(name) is not None for name in FAMILY):
        del config["architectures"]
        for name, value in family_of(stored).items():
            # Another architecture has depths and widths of its own.
            if given.get(name) is None and given.get("arch") in (None, _arch(stored)):
                given[name] = value
    elif given.get("architectures") is not None:
        del config["architectures"]
    return Study.from_config({**config, **given})


def extended(old: Study, new: Study) -> Study:
    """`new`, with all cells that `old` has, in their places before the added ones."""
    grown: dict[str, Any] = {"trained": max(old.trained, new.trained)}
    for name in GROWING:
        if name != "trained":
            before = getattr(old, name)
            grown[name] = (*before, *(one for one in getattr(new, name) if one not in before))
    return replace(new, **grown)


def differences(old: Study, new: Study, *, free: tuple[str, ...] = FREE) -> list[str]:
    """What two definitions differ in: "n_train is 8 in the folder, 16 now"."""
    found = []
    for one in fields(Study):
        before, now = getattr(old, one.name), getattr(new, one.name)
        if before != now and one.name not in free:
            found.append(f"{one.name} is {_shown(before)} in the folder, {_shown(now)} now")
    return found


def _arch(study: Study) -> str | None:
    names = {architecture.name for architecture in study.architectures}
    return names.pop() if len(names) == 1 else None


def family_of(study: Study) -> dict[str, Any]:
    """What `families.family` would have been told, if all are of one family."""
    if _arch(study) is None:
        return {}
    several = study.architectures
    found: dict[str, Any] = {"arch": _arch(study)}
    for name, option in (("widths", "width"), ("depths", "depth")):
        values = list(dict.fromkeys(one.options.get(option) for one in several))
        if None not in values:
            found[name] = values
    for name in ("head", "bias"):
        shared = {getattr(one, name) for one in several}
        if len(shared) == 1:
            found[name] = shared.pop()
    return found


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "the default" if value is None else str(value)
