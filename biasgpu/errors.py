"""Errors that say what happened, why, and how to fix it.

Every error a user can cause is a `BiasgpuError`. The command line prints it without a traceback and
leaves with its `exit_code`; from Python it is an ordinary exception with the same three parts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BiasgpuError(Exception):
    """Something the user can understand and mend.

    Args:
        what: what went wrong, with the value that caused it.
        why: the rule or limit behind it.
        fix: what to do, in Python and in the shell where they differ.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        text = self.what
        for label, part in (("Why:   ", self.why), ("Fix:   ", self.fix)):
            if part:
                text += "\n" + label + part.replace("\n", "\n       ")
        return text


class UsageError(BiasgpuError):
    """An argument that cannot mean anything: an unknown name, a width of 0, an odd `n_train`."""

    exit_code = 2


class RefusedError(BiasgpuError):
    """Doing it would overwrite or mix up what the user has."""

    exit_code = 3


class DamagedFileError(BiasgpuError):
    """A file that is truncated, corrupt, hostile, or of another kind."""

    exit_code = 4


class ResourceError(BiasgpuError):
    """No usable GPU, no memory, or a missing optional package."""

    exit_code = 5


class NonFiniteError(BiasgpuError):
    """A network whose logits are infinite or not a number."""


class ImpossibleTaskError(BiasgpuError):
    """A task that no network can fit."""


def suggestion(name: str, choices: Iterable[str]) -> str:
    """`" Did you mean 'lenet'?"`, or an empty string where nothing is close."""
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, name: str, choices: Iterable[str], *, fix: str = "") -> UsageError:
    """The error for a name that is not one of `choices`, with the nearest one suggested."""
    known = sorted(choices)
    return UsageError(
        f"unknown {kind} {name!r}.{suggestion(name, known)}",
        why=f"known: {', '.join(known)}.",
        fix=fix or f"use one of the names above for the {kind}.",
    )


def needs_extra(package: str, purpose: str) -> ResourceError:
    """The error for an optional package that is not installed."""
    return ResourceError(
        f"{purpose} needs {package}, which is not installed.",
        why=f"{package} is large, so biasgpu installs it only on request.",
        fix=f"pip install 'biasgpu[{'gpu' if package == 'triton' else package}]'",
    )
