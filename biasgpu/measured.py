"""Rows with what measures need of their networks, taken when they are kept."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from biasgpu.errors import NonFiniteError
from biasgpu.fits import Fits
from biasgpu.networks import Networks

COLUMNS = ("train_logits", "lipschitz", "frobenius", "spectral")


def prepare_measures(networks: Networks) -> None:
    """Have the measures compiled by taking them of some network; what they say is not looked at."""
    from biasgpu.measures.columns import measure_columns

    with contextlib.suppress(NonFiniteError):
        measure_columns(networks)


def measured(rows: Fits, networks: Networks, *, threads: int | None = None) -> Fits:
    """The same rows with the columns of `biasgpu.measures.columns` filled.

    None of them depends on N: a row serves every N up to its prefix.

    Args:
        rows: of `n` networks.
        networks: these networks.
        threads: CPU threads; None takes all.
    """
    from biasgpu.measures.columns import measure_columns

    found = measure_columns(networks, threads=threads)
    return replace(rows, **{name: found[name] for name in COLUMNS})
