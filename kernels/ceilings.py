"""What a GPU can do at best, by the kernels' own instructions and nothing else around them."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.philox import philox


@triton.jit(do_not_specialize=["n_blocks"])
def _words_kernel(to_ptr, n_blocks, BLOCK: tl.constexpr):
    """Philox blocks, of whose words nothing is kept but an exclusive or.

    Args:
        to_ptr: int32, one a thread.
        n_blocks: of a thread.

    Grid: any. Bytes: 4 a thread. Operations: about 90 a block. Random words: 4 a block.
    """
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    draw = slot.to(tl.uint32)
    block = tl.zeros([BLOCK], tl.uint32)
    zero = tl.full((), 0, tl.uint32)
    kept = block
    for _ in range(n_blocks):
        w0, w1, w2, w3 = philox(block, zero, draw, zero, zero, zero)
        kept ^= w0 ^ w1 ^ w2 ^ w3
        block += 1
    tl.store(to_ptr + slot, kept.to(tl.int32, bitcast=True))


@triton.jit(do_not_specialize=["n_rounds"])
def _products_kernel(to_ptr, n_rounds, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Fused products in float32, ROWS that do not wait for each other.

    Args:
        to_ptr: float32, one a thread.
        n_rounds: of ROWS products.

    Grid: any. Bytes: 4 a thread. Operations: 2 ROWS a round. Random words: none.
    """
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = (slot.to(tl.float32) * 1e-9)[None, :]
    y = x + tl.arange(0, ROWS)[:, None]
    for _ in range(n_rounds):
        y = y * x + 0.5
    tl.store(to_ptr + slot, tl.sum(y, axis=0))
