"""Bytes of random words for tensor cores: the law's integers, with and without assembler."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch
import triton
import triton.language as tl

from biasgpu.engines.triton_tensor import RESTS
from biasgpu.kernels import direct_tensor, tensor_launch
from biasgpu.kernels.direct_tensor import magnitudes, planes
from biasgpu.priors import odd_integers
from tests.direct_cases import tensor
from tests.kernel_cases import DEVICE

INTERPRETED = DEVICE.type == "cpu"


@triton.jit
def _planes_kernel(
    word_ptr, to_ptr, BITS: tl.constexpr, PACKED: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    at = tl.arange(0, N)
    b3, b2, b1, b0 = planes(tl.load(word_ptr + at).to(tl.uint32), BITS, PACKED)
    tl.store(to_ptr + at, b0)
    tl.store(to_ptr + N + at, b1)
    tl.store(to_ptr + 2 * N + at, b2)
    tl.store(to_ptr + 3 * N + at, b3)
    tl.store(to_ptr + 4 * N + at, magnitudes(b3, PACKED))


def words(n: int) -> npt.NDArray[np.uint32]:
    found = np.random.default_rng(2).integers(0, 2**32, n, dtype=np.uint32)
    found[:8] = [0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 0x80807F7F]
    return found


def numbers(planes_: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """The odd integers `(n, 32 / bits)` that signed bytes `(4, n)` stand for, the lowest first."""
    b0, b1, b2, b3 = planes_
    if bits == 32:
        fields = [b3 * 2**16 + b2 * 2**8 + b1]
    elif bits == 16:
        fields = [b1 * 2**8 + b0, b3 * 2**8 + b2]
    else:
        fields = [b0, b1, b2, b3]
    return 2 * np.stack(fields, axis=1) + RESTS[bits]


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_bytes_are_the_law_s_integers(bits: int) -> None:
    n, packed = 1024, not INTERPRETED and tensor_launch.maker() == "cuda"
    drawn = words(n)
    found = torch.zeros(5 * n, dtype=torch.int8, device=DEVICE)
    run: Any = _planes_kernel[(1,)]
    run(tensor(drawn.astype(np.int64)), found, BITS=bits, PACKED=packed, N=n)
    values = found.cpu().numpy().reshape(5, n).astype(np.int64)
    expected = odd_integers(drawn, bits).reshape(n, -1)
    assert np.array_equal(numbers(values[:4], bits), expected)
    # One more than a magnitude, times what an upper byte stands for, is no less than the number.
    top = expected[:, -1]
    assert (np.abs(top) < 2 ** min(bits, 24) / 128 * (values[4] + 1)).all()
    assert ((values[4] >= 0) & (values[4] <= 127)).all()


def assembled(text: str, inputs: dict[str, npt.NDArray[np.uint32]]) -> dict[str, Any]:
    """What PTX makes of registers: `prmt` and `xor`, as the PTX manual defines them."""
    values: dict[str, Any] = dict(inputs)
    for name, arguments in re.findall(r"(prmt|xor)\.b32 ([^;]*);", text):
        to, a, b, *rest = (part.strip() for part in arguments.split(","))
        if name == "xor":
            values[to] = values[a] ^ (values[b] if b in values else np.uint32(int(b, 16)))
            continue
        sources = [values[which] >> np.uint32(8 * i) & np.uint32(255) for which in (a, b)
                   for i in range(4)]  # fmt: skip
        selector, result = int(rest[0], 16), np.zeros_like(values[a])
        for i in range(4):
            nibble = selector >> (4 * i) & 15
            byte = sources[nibble & 7]
            if nibble & 8:
                byte = (byte >> np.uint32(7)) * np.uint32(255)
            result |= byte << np.uint32(8 * i)
        values[to] = result
    return values


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_the_assembler_s_permutations(bits: int) -> None:
    """Four words to a register each of upper, ... lower bytes: element i is byte i."""
    text = {32: direct_tensor.ASSEMBLY_32, 16: direct_tensor.ASSEMBLY_16,
            8: direct_tensor.ASSEMBLY_8}[bits].value  # fmt: skip
    drawn = words(1024).reshape(-1, 4)
    n_out = 3 if bits == 32 else 4
    inputs = {f"${n_out + i}": drawn[:, i].copy() for i in range(4)}
    values = assembled(text, inputs)
    found = np.zeros((4, *drawn.shape), dtype=np.int64)
    for i in range(n_out):
        found[3 - i] = values[f"${i}"].view(np.int8).reshape(-1, 4)
    expected = odd_integers(drawn.ravel(), bits).reshape(drawn.size, -1)
    assert np.array_equal(numbers(found.reshape(4, -1), bits), expected)
    upper = values["$0"]
    signs = assembled(direct_tensor.MAGNITUDES.value, {"$1": upper})["$0"].view(np.int8)
    b3 = found[3].ravel()
    assert np.array_equal(signs.astype(np.int64), np.where(b3 < 0, -1 - b3, b3))
