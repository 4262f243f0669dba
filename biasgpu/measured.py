"""Rows with what measures need of their networks, taken when they are kept."""

from __future__ import annotations

from dataclasses import replace

from biasgpu.fits import Fits
from biasgpu.networks import Networks

COLUMNS = ("train_logits", "lipschitz", "frobenius", "spectral")


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
