"""A dense layer on tensor cores: exact sums of whole numbers, for uniform priors.

A uniform weight is an odd integer times a step, and an integer is its bytes. An input is rounded to
an integer, too, of 32 bits: four digits in base 256 (`direct_digits.py`). Tensor cores multiply
bytes by digits and add up in 32-bit integers, without any rounding. What is left to bound is the
input's rounding, the weight's (the law rounds odd times step once), and what float32 rounds where
it puts the sums together in the end: see `biasgpu/engines/triton_tensor.py`.

The rows of the product are units of draws. The first layer's inputs are every draw's, so it is one
large product: a tile holds units of many draws. Later layers have inputs of their own, and a tile
holds units of one draw.
"""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.direct_dense import OVERFLOW, load_constants, of_grid, settle
from biasgpu.kernels.philox import halves, philox

STEP = tl.constexpr(8)  # Philox blocks that are multiplied at a time: 32 words, a product's depth
DIGITS = tl.constexpr(4)  # of an input
ROUNDINGS = tl.constexpr(2.0**-20)  # of an output: ten and a bit in float32

# Bytes of four words, by three or four permutations to two: `a` and `b` hold the upper halves,
# `c` and `d` the lower ones. What is not a number's upper byte is turned from 0 .. 255 into
# -128 .. 127.
_UPPER = """
{
.reg .b32 a, b, c, d;
prmt.b32 a, W0, W1, 0x7362;
prmt.b32 b, W2, W3, 0x7362;
prmt.b32 c, W0, W1, 0x5140;
prmt.b32 d, W2, W3, 0x5140;
prmt.b32 $0, a, b, 0x7632;
prmt.b32 $1, a, b, 0x5410;
prmt.b32 $2, c, d, 0x7632;
"""
_WORDS = {3: ("$3", "$4", "$5", "$6"), 4: ("$4", "$5", "$6", "$7")}


def _assembly(bits: int) -> str:
    n = 3 if bits == 32 else 4
    text = _UPPER + ("" if n == 3 else "prmt.b32 $3, c, d, 0x5410;\n")
    for place, name in enumerate(_WORDS[n]):
        text = text.replace(f"W{place}", name)
    for register in {32: ("$1", "$2"), 16: ("$1", "$3"), 8: ()}[bits]:
        text += f"xor.b32 {register}, {register}, 0x80808080;\n"
    return text + "}\n"


ASSEMBLY_32 = tl.constexpr(_assembly(32))
ASSEMBLY_16 = tl.constexpr(_assembly(16))
ASSEMBLY_8 = tl.constexpr(_assembly(8))
# A permutation that repeats the sign of each byte, and what it says of them.
MAGNITUDES = tl.constexpr("""
{
.reg .b32 a;
prmt.b32 a, $1, $1, 0xba98;
xor.b32 $0, $1, a;
}
""")


@triton.jit
def _byte(words, SHIFT: tl.constexpr, FLIP: tl.constexpr):
    return ((words >> SHIFT) ^ FLIP).to(tl.int8)


@triton.jit
def planes(words, BITS: tl.constexpr, PACKED: tl.constexpr):
    """The four bytes of words, from the upper one down; of 32 BITS the last is not used.

    A number's upper byte is signed as it is; others get 128 less.

    Args:
        words: uint32, any shape.
        PACKED: for NVIDIA's GPUs, where four bytes to a register are a few permutations; compilers
            find no such thing on their own.

    Returns:
        four int8 tensors of the words' shape.

    Operations: 2.25 to 2.5 a word; without PACKED about 7.
    """
    if PACKED:
        if BITS == 32:
            b3, b2, b1 = tl.inline_asm_elementwise(
                ASSEMBLY_32, "=r,=r,=r,r,r,r,r", [words], dtype=(tl.int8, tl.int8, tl.int8),  # pyright: ignore
                is_pure=True, pack=4,
            )  # fmt: skip
            b0 = b1
        else:
            b3, b2, b1, b0 = tl.inline_asm_elementwise(
                ASSEMBLY_16 if BITS == 16 else ASSEMBLY_8, "=r,=r,=r,=r,r,r,r,r", [words],  # pyright: ignore
                dtype=(tl.int8, tl.int8, tl.int8, tl.int8), is_pure=True, pack=4,
            )  # fmt: skip
    else:
        lower: tl.constexpr = 0 if BITS == 8 else 128  # pyright: ignore
        middle: tl.constexpr = 128 if BITS == 32 else 0  # pyright: ignore
        b3 = _byte(words, 24, 0)  # pyright: ignore
        b2 = _byte(words, 16, lower)  # pyright: ignore
        b1 = _byte(words, 8, middle)  # pyright: ignore
        b0 = _byte(words, 0, lower)  # pyright: ignore
    return b3, b2, b1, b0


@triton.jit
def magnitudes(bytes_, PACKED: tl.constexpr):
    """Of a number's upper byte b: b, or -1 - b where it is negative.

    One more than it, times what the byte stands for, is no less than the number's magnitude.
    """
    if PACKED:
        found = tl.inline_asm_elementwise(
            MAGNITUDES,  # pyright: ignore
            "=r,r",
            [bytes_],
            dtype=tl.int8,
            is_pure=True,
            pack=4,
        )
    else:
        found = bytes_ ^ (bytes_ >> 7)
    return found


@triton.jit
def _bound(bytes_, slacks, error, PACKED: tl.constexpr):
    return tl.dot(magnitudes(bytes_, PACKED), tl.load(slacks), error, out_dtype=tl.int32)


# One compiled kernel for all values: none of them is worth another.
@triton.jit(
    do_not_specialize=["n", "first_block", "blocks_per_unit", "n_units", "n_steps"]
)  # fmt: skip
def _product_kernel(
    name_ptr,
    places_ptr,
    digits_ptr,
    slacks_ptr,
    numbers_ptr,
    output_ptr,
    next_slack_ptr,
    constants_ptr,
    n,
    first_block,
    blocks_per_unit,
    n_units,
    n_steps,
    SHARED: tl.constexpr,
    RECTIFIED: tl.constexpr,
    BITS: tl.constexpr,
    PACKED: tl.constexpr,
    SAMPLES: tl.constexpr,
    BOUNDS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Activations of a tile of ROWS units of draws on SAMPLES samples, with their slack.

    Args:
        name_ptr, places_ptr, constants_ptr, first_block, blocks_per_unit: as those of
            `direct_dense._dense_kernel`.
        digits_ptr: int8 `(n, n_steps, 32 / BITS, 4 SAMPLES, 32)`: of the inputs, in the order in
            which the weights come: those of each field of a word on their own. With SHARED without
            the first axis.
        slacks_ptr: int8 `(n, n_steps, 32 / BITS, BOUNDS, 32)`: slacks in the same order, and zeros
            behind those of the samples. Not used with SHARED.
        numbers_ptr: float32 `(n, 4, SAMPLES)`, with SHARED `(4, SAMPLES)`: what a unit of a sum is
            worth, what joins the sum, what an output's error is below, but for the last roundings
            and, without SHARED, for a sum of magnitudes times slacks; what a unit of that is worth.
        output_ptr, next_slack_ptr: float32 `(n / BLOCK, SAMPLES, n_units, BLOCK)`: get activations
            and slack.
        n_steps: of STEP blocks, which cover a unit's.
        PACKED: see `planes`.
        BOUNDS: columns of the product of bounds, a multiple of SAMPLES.

    Grid: with SHARED `cdiv(n, BLOCK) * cdiv(n_units, ROWS / BLOCK)`, else `BLOCK` times
        `cdiv(n, BLOCK) * cdiv(n_units, ROWS)`: lanes without a draw get zeros.
    Bytes: 128 SAMPLES a step, of the cache mostly; 8 SAMPLES an output.
    Operations: about 13 a weight of 32 BITS (7 of 16, 3.5 of 8), a little more without SHARED; on
        tensor cores 12 (8, 4) SAMPLES products and sums, without SHARED BOUNDS more.
    Random words: one a weight (half or a quarter with 16 or 8 BITS), rounded up to whole steps.
    """
    columns: tl.constexpr = DIGITS * SAMPLES
    words: tl.constexpr = 4 * STEP
    size: tl.constexpr = columns * words
    row = tl.arange(0, ROWS)
    if SHARED:
        program, tile = of_grid(n_units, ROWS // BLOCK)
        unit = tile * (ROWS // BLOCK) + row // BLOCK
        lane = row % BLOCK
        slot = program * BLOCK + lane
    else:
        here, tile = of_grid(n_units, ROWS)
        unit = tile * ROWS + row
        program = here // BLOCK
        lane = row * 0 + (here % BLOCK).to(tl.int32)
        slot = here + row * 0
        digits_ptr += here * n_steps * (32 // BITS) * size
        slacks_ptr += here * n_steps * (32 // BITS) * BOUNDS * words
        numbers_ptr += here * 4 * SAMPLES
        n_steps = tl.where(here < n, n_steps, 0)  # without a draw, nothing to add up
    exists = unit < n_units
    unit = tl.minimum(unit, n_units - 1)
    place = tl.load(places_ptr + slot, mask=slot < n, other=0)
    key_low, key_high = halves(tl.load(name_ptr))
    draw_low, draw_high = halves((tl.load(name_ptr + 1) + place)[:, None])
    block = (unit.to(tl.int64) * blocks_per_unit + first_block).to(tl.uint32)[:, None]
    block = block + tl.arange(0, STEP).to(tl.uint32)[None, :]
    stream = tl.full((), 0, tl.uint32)
    column = tl.arange(0, columns)
    digits = digits_ptr + tl.arange(0, words)[:, None] + column[None, :] * words
    slacks = slacks_ptr + tl.arange(0, words)[:, None] + tl.arange(0, BOUNDS)[None, :] * words
    upper = tl.zeros([ROWS, columns], tl.int32)
    middle = upper
    lower = upper
    error = tl.zeros([ROWS, BOUNDS], tl.int32)
    for _ in range(n_steps):
        w0, w1, w2, w3 = philox(block, stream, draw_low, draw_high, key_low, key_high)
        block += STEP
        made = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), [ROWS, words])
        b3, b2, b1, b0 = planes(made, BITS, PACKED)
        if BITS == 32:
            x = tl.load(digits)
            upper = tl.dot(b3, x, upper, out_dtype=tl.int32)
            middle = tl.dot(b2, x, middle, out_dtype=tl.int32)
            lower = tl.dot(b1, x, lower, out_dtype=tl.int32)
            if not SHARED:
                error = _bound(b3, slacks, error, PACKED)
        elif BITS == 16:
            x = tl.load(digits)
            upper = tl.dot(b1, x, upper, out_dtype=tl.int32)
            middle = tl.dot(b0, x, middle, out_dtype=tl.int32)
            x = tl.load(digits + size)
            upper = tl.dot(b3, x, upper, out_dtype=tl.int32)
            middle = tl.dot(b2, x, middle, out_dtype=tl.int32)
            if not SHARED:
                error = _bound(b1, slacks, error, PACKED)
                error = _bound(b3, slacks + BOUNDS * words, error, PACKED)
        else:
            upper = tl.dot(b0, tl.load(digits), upper, out_dtype=tl.int32)
            upper = tl.dot(b1, tl.load(digits + size), upper, out_dtype=tl.int32)
            upper = tl.dot(b2, tl.load(digits + 2 * size), upper, out_dtype=tl.int32)
            upper = tl.dot(b3, tl.load(digits + 3 * size), upper, out_dtype=tl.int32)
            if not SHARED:
                error = _bound(b0, slacks, error, PACKED)
                error = _bound(b1, slacks + BOUNDS * words, error, PACKED)
                error = _bound(b2, slacks + 2 * BOUNDS * words, error, PACKED)
                error = _bound(b3, slacks + 3 * BOUNDS * words, error, PACKED)
        digits += (32 // BITS) * size
        slacks += (32 // BITS) * BOUNDS * words
    total = upper.to(tl.float32)
    if BITS >= 16:
        total = total * 256.0 + middle.to(tl.float32)
    if BITS == 32:
        total = total * 256.0 + lower.to(tl.float32)
    worth = tl.load(numbers_ptr + column // DIGITS)
    worth *= (1 << (8 * (column % DIGITS))).to(tl.float32)
    parts = tl.reshape(total * worth[None, :], [ROWS, SAMPLES, DIGITS])
    sample = tl.arange(0, SAMPLES)
    y = tl.sum(parts, axis=2) + tl.load(numbers_ptr + SAMPLES + sample)[None, :]
    bound = tl.load(numbers_ptr + 2 * SAMPLES + sample)[None, :]
    if not SHARED:
        each = tl.sum(tl.reshape(error, [ROWS, BOUNDS // SAMPLES, SAMPLES]), axis=1)
        bound += each.to(tl.float32) * tl.load(numbers_ptr + 3 * SAMPLES + sample)[None, :]
    tiny, _, gain, inject, floor = load_constants(constants_ptr, False)  # pyright: ignore
    bound = tl.where(bound == 0.0, 0.0, bound + ROUNDINGS * tl.abs(y) + tiny)
    bound = tl.where(bound < OVERFLOW, bound, float("inf"))  # what is not a number, too
    h, slack = settle(y, bound, gain, inject, floor, RECTIFIED)
    to = program * SAMPLES * n_units * BLOCK + sample[None, :] * (n_units * BLOCK)
    to = to + (unit * BLOCK + lane)[:, None]
    mask = exists[:, None] & (sample[None, :] >= 0)
    tl.store(output_ptr + to, h, mask=mask)
    tl.store(next_slack_ptr + to, slack, mask=mask)
