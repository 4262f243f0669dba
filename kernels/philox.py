"""Philox4x32-10 in Triton: the law's words (`biasgpu.rng`), one block a lane.

`tl.philox` has 10 rounds, too, but its helpers have changed between versions; these few lines are
ours, and the Random123 known answers are in the tests.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import triton
import triton.language as tl

MULTIPLIER_0 = tl.constexpr(0xD2511F53)
MULTIPLIER_1 = tl.constexpr(0xCD9E8D57)
WEYL_0 = tl.constexpr(0x9E3779B9)
WEYL_1 = tl.constexpr(0xBB67AE85)


@triton.jit
def philox(block, stream, draw_low, draw_high, key_low, key_high):
    """The four words of blocks.

    Args:
        block: uint32, any shape.
        stream, draw_low, draw_high, key_low, key_high: uint32, of shapes that broadcast to it.

    Returns:
        four uint32 tensors of the blocks' shape.

    Source:
        Salmon et al. 2011, section 3.3. 20 wide products and 20 three-way exclusive ors a block
        (80 or so instructions where keys are not kept in registers).
    """
    c0, c1, c2, c3 = block, stream, draw_low, draw_high
    k0, k1 = key_low, key_high
    multiplier_0 = tl.full((), MULTIPLIER_0, tl.uint64)
    multiplier_1 = tl.full((), MULTIPLIER_1, tl.uint64)
    weyl_0 = tl.full((), WEYL_0, tl.uint32)
    weyl_1 = tl.full((), WEYL_1, tl.uint32)
    for _ in tl.static_range(10):  # pyright: ignore
        # 64-bit products of 32-bit numbers: one instruction, where the halves would be two.
        product_0 = c0.to(tl.uint64) * multiplier_0
        product_1 = c2.to(tl.uint64) * multiplier_1
        c0 = (product_1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c1 = product_1.to(tl.uint32)
        c2 = (product_0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c3 = product_0.to(tl.uint32)
        k0 = k0 + weyl_0
        k1 = k1 + weyl_1
    return c0, c1, c2, c3


@triton.jit
def halves(number):
    """The low and high 32 bits of a 64-bit number: two uint32."""
    bits = number.to(tl.uint64, bitcast=True)
    return bits.to(tl.uint32), (bits >> 32).to(tl.uint32)
