"""Squared input-gradient norms of sixteen networks on any number of samples, compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from biasgpu.engines.cpu.digest import compiled, source_digest
from biasgpu.engines.cpu.program import (
    CONV,
    DENSE,
    INPUTS,
    KIND,
    OUTPUTS,
    PAD,
    POOL,
    RELU_AFTER,
)
from biasgpu.engines.cpu.simd import splat_like, store
from biasgpu.engines.cpu.vectors import LANES_F32
from biasgpu.engines.cpu.workspace import STOP
from biasgpu.measures.cpu.backward import (
    convolution_first,
    convolution_inner,
    dense_first,
    dense_inner,
    silence,
    unpad,
    unpool,
)
from biasgpu.measures.cpu.forward import (
    convolution_own,
    convolution_shared,
    dense_own,
    dense_shared,
    pad,
    pool,
    rectify,
)


@cache
def digest() -> int:
    """64 bits over every source file that ends up in the machine code."""
    found = hashlib.sha256(source_digest().to_bytes(8, "little"))
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return int.from_bytes(found.digest()[:8], "little")


@cache
def compiled_squares() -> Callable[..., None]:
    """The compiled kernel; its machine code is kept until one of its sources changes."""
    # What it calls are globals: a function in a closure variable would be another one in every
    # process to numba's cache, and everything would be compiled again.
    sources = digest()

    @compiled
    def squares_of(
        ops: Any, places: Any, quads: Any, inputs: Any, passes: Any, pairs: Any, n_samples: int,
        block: int, w: Any, names: Any, outputs: Any, wins: Any, here: Any, there: Any, spread: Any,
        squares: Any,
    ) -> None:  # fmt: skip
        """Add to `squares`, float64 `[pair, sample, lane]`, what the gradients' lengths square to.

        Args (in numba):
            inputs, passes: `(samples * features,)`, see lowering.py.
            pairs: int64 `(pairs, 2)`, outputs.
            block: samples at a time.
            outputs, wins, here, there, spread: scratch for a block (`spread` for one sample).
        """
        _ = sources
        n_ops = len(ops)
        features, n_outputs = ops[0, INPUTS], ops[n_ops - 1, OUTPUTS]
        for begin in range(0, n_samples, block):
            n = min(block, n_samples - begin)
            x = inputs[begin * features : (begin + n) * features]
            received = passes[begin * features : (begin + n) * features]
            before = outputs
            for i in range(n_ops):
                op, kind = ops[i], ops[i, KIND]
                y = outputs[places[i, 0] * block * LANES_F32 :]
                won = wins[places[i, 1] * block * LANES_F32 :]
                if kind == DENSE:
                    if i == 0:
                        dense_shared(x, y, w, names, op, n)
                    else:
                        dense_own(before, y, w, names, op, n)
                elif kind == CONV:
                    if i == 0:
                        convolution_shared(x, y, won, w, names, op, quads, n)
                    else:
                        convolution_own(before, y, won, w, names, op, quads, n)
                elif kind == POOL:
                    pool(before, y, won, op, n)
                elif kind == PAD:
                    pad(before, y, op, n)
                else:
                    rectify(before, y, n * op[OUTPUTS])
                if names[STOP]:
                    return
                before = y
            for pair in range(len(pairs)):
                result = squares[(pair * n_samples + begin) * LANES_F32 :]
                for k in range(n * n_outputs):
                    value = 0.0
                    if k % n_outputs == pairs[pair, 1]:
                        value = 1.0
                    elif k % n_outputs == pairs[pair, 0]:
                        value = -1.0
                    store(here, k * LANES_F32, splat_like(w, w.dtype.type(value)))
                g, out = here, there
                for i in range(n_ops - 1, -1, -1):
                    op, kind = ops[i], ops[i, KIND]
                    won = wins[places[i, 1] * block * LANES_F32 :]
                    if op[RELU_AFTER] or kind not in (DENSE, CONV, POOL, PAD):
                        y = outputs[places[i, 0] * block * LANES_F32 :]
                        silence(g, y, n * op[OUTPUTS])
                    if kind == DENSE:
                        if i == 0:
                            dense_first(g, out, w, names, op, n, received, result)
                        else:
                            dense_inner(g, out, w, names, op, n, received, result)
                    elif kind == CONV:
                        if i == 0:
                            convolution_first(
                                g, won, out, spread, w, names, op, n, received, result
                            )
                        else:
                            convolution_inner(
                                g, won, out, spread, w, names, op, n, received, result
                            )
                    elif kind == POOL:
                        unpool(g, won, out, op, n)
                    elif kind == PAD:
                        unpad(g, out, op, n)
                    if names[STOP]:
                        return
                    if kind in (DENSE, CONV, POOL, PAD):
                        g, out = out, g

    return squares_of
