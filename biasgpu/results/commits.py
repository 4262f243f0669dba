"""Commits: how far a run has come, in two slots that are written in turn.

A commit is written to the slot that does not hold the last one, so that at every moment, whatever
is interrupted, one of the two is whole. Its checksum tells.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError

N_SLOTS = 2
COUNTERS_BYTES = 1024
REASON_BYTES = 256
_COUNT_LIMIT = 1 << 63


@dataclass(frozen=True, eq=False)
class Commit:
    """The state of a run after one batch.

    Args:
        serial: counts the commits of a file from 0, the empty file.
        n_rows: rows of the columns that are valid.
        next_draw: the first draw that is not decided.
        elapsed_s: seconds of work, over all sessions.
        prefix_counts: int64 `(n_train + 1,)`, totals so far.
        column_crc32: uint32, one a column, over the bytes of its valid rows.
        complete: whether the run ended as it should.
        stop_reason: why it ended, "" while it goes on.
        counters: further totals by name.
    """

    serial: int
    n_rows: int
    next_draw: int
    elapsed_s: float
    prefix_counts: npt.NDArray[np.int64]
    column_crc32: tuple[int, ...]
    complete: bool = False
    stop_reason: str = ""
    counters: dict[str, int] = field(default_factory=dict)


def slot_dtype(n_train: int, n_columns: int) -> np.dtype[Any]:
    """The record of one slot: little-endian, without padding."""
    return np.dtype(
        [
            ("serial", "<u8"),
            ("n_rows", "<u8"),
            ("next_draw", "<u8"),
            ("elapsed_s", "<f8"),
            ("prefix_counts", "<i8", (n_train + 1,)),
            ("column_crc32", "<u4", (n_columns,)),
            ("complete", "<u4"),
            ("stop_reason", f"S{REASON_BYTES}"),
            ("counters", f"S{COUNTERS_BYTES}"),
            ("crc32", "<u4"),
        ]
    )


def encode_commit(commit: Commit, dtype: np.dtype[Any]) -> bytes:
    """A commit as the bytes of its slot."""
    record = np.zeros((), dtype)
    record["serial"] = commit.serial
    record["n_rows"] = commit.n_rows
    record["next_draw"] = commit.next_draw
    record["elapsed_s"] = commit.elapsed_s
    record["prefix_counts"] = commit.prefix_counts
    record["column_crc32"] = commit.column_crc32
    record["complete"] = commit.complete
    record["stop_reason"] = commit.stop_reason.encode()[:REASON_BYTES]
    record["counters"] = json.dumps(commit.counters, separators=(",", ":")).encode()
    data = record.tobytes()[:-4]
    return data + zlib.crc32(data).to_bytes(4, "little")


def decode_commits(data: bytes, dtype: np.dtype[Any]) -> list[Commit]:
    """The whole commits among the two slots, the newest first; torn and empty ones are left out."""
    found: list[Commit] = []
    for slot in range(N_SLOTS):
        part = data[slot * dtype.itemsize : (slot + 1) * dtype.itemsize]
        if len(part) < dtype.itemsize:
            break
        if zlib.crc32(part[:-4]) != int.from_bytes(part[-4:], "little"):
            continue
        commit = _decode(np.frombuffer(part, dtype)[0])
        if commit is not None and commit.serial % N_SLOTS == slot:
            found.append(commit)
    return sorted(found, key=lambda commit: commit.serial, reverse=True)


def check_counters(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters as plain whole numbers.

    Raises:
        UsageError: a negative or fractional one, or more of them than a slot can hold.
    """
    result: dict[str, int] = {}
    for name, value in counters.items():
        if not isinstance(value, int | np.integer) or not 0 <= value < _COUNT_LIMIT:
            raise UsageError(
                f"counter {name} is {value!r}; it must be a whole number, 0 or more.",
                why="counters are totals.",
                fix=f"for example counters={{{name!r}: 0}}.",
            )
        result[name] = int(value)
    if len(json.dumps(result, separators=(",", ":"))) > COUNTERS_BYTES:
        raise UsageError(
            f"{len(result)} counters with long names do not fit into a commit.",
            why=f"they are kept as {COUNTERS_BYTES} bytes of JSON.",
            fix="use fewer counters, or shorter names.",
        )
    return result


def _decode(record: np.void) -> Commit | None:
    try:
        counters = json.loads(record["counters"] or b"{}")
        if not isinstance(counters, dict):
            return None
        commit = Commit(
            serial=int(record["serial"]),
            n_rows=int(record["n_rows"]),
            next_draw=int(record["next_draw"]),
            elapsed_s=float(record["elapsed_s"]),
            prefix_counts=record["prefix_counts"].astype(np.int64),
            column_crc32=tuple(int(crc) for crc in record["column_crc32"]),
            complete=bool(record["complete"]),
            stop_reason=bytes(record["stop_reason"]).decode("utf-8", "replace"),
            counters=check_counters(counters),
        )
    except (ValueError, RecursionError, UsageError):
        return None
    plausible = commit.elapsed_s >= 0 and int(commit.prefix_counts.min()) >= 0
    return commit if plausible else None
