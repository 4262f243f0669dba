"""What a thread of a compiled kernel executes, counted in the machine code for an NVIDIA GPU.

Instructions are sorted by the part of a processor that executes them. Of one quarter of a
multiprocessor, a warp's instruction takes so many cycles of it:

    issue 1   any instruction
    fma   1   products and sums in float32 (two pipes of 16 lanes)
    imad  2   integer products, on one of these two pipes
    alu   2   integer sums, logic, shifts, comparisons, selections, conversions (16 lanes)
    fp64  2   float64
    load  4   loads and stores of 32 bits a lane (a multiprocessor has 128 bytes a cycle)
    tensor 8  a product of 16 by 32 bytes with 32 by 8

Source: CUDA C++ Programming Guide, arithmetic instructions, compute capability 9.0: 128 results a
cycle and multiprocessor in float32, 64 for integers, comparisons, conversions and float64. Tensor
cores: 1,979 T operations a second in INT8 on an H100 (NVIDIA's data sheet) are 1,024 products a
cycle and quarter, 4 cycles for 4,096; instructions of a single warp reach some 60 % of it (Luo and
others, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture", 2024), and 8 is assumed.
An A100 has half of that rate, and its instructions reach it: 8.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import triton

CYCLES = {"issue": 1, "fma": 1, "imad": 2, "alu": 2, "fp64": 2, "load": 4, "tensor": 8}
_FMA = ("FFMA", "FMUL", "FADD")
_FP64 = ("DFMA", "DMUL", "DADD", "DSETP")
_LOADS = ("LDG", "STG", "LD", "ST", "LDS", "STS", "RED", "ATOMG", "LDL", "STL", "LDSM", "STSM")
_TENSOR = ("IMMA", "HMMA", "IGMMA", "HGMMA", "UTCIMMA", "UTCHMMA")
_NEITHER = (
    "BRA", "BSSY", "BSYNC", "EXIT", "NOP", "WARPSYNC", "MOV", "S2R", "LDC", "CS2R", "CALL", "BAR",
)  # fmt: skip


@dataclass
class Loop:
    """A loop: its first and last address, and the loops inside."""

    begin: int
    end: int
    inner: list[Loop] = field(default_factory=list)


def disassemble(cubin: bytes) -> list[tuple[int, str]]:
    """Addresses and instructions."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [tool, "-sass", file.name], capture_output=True, text=True, check=True
        )
    found = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+([^;]*);", done.stdout)
    return [(int(address, 16), text) for address, text in found if "NOP" not in text]


def loops(code: Sequence[tuple[int, str]]) -> list[Loop]:
    """The outermost loops, in order, each with those inside it."""
    found: dict[int, Loop] = {}
    for address, text in code:
        for target in re.findall(r"BRA(?:\.U !?UP\d,)? (?:`\(\S+\)|0x)([0-9a-f]+)", text):
            begin = int(target, 16)
            if begin < address:
                end = max(address, found[begin].end if begin in found else 0)
                found[begin] = Loop(begin, end)
    outermost: list[Loop] = []
    open_: list[Loop] = []
    for loop in sorted(found.values(), key=lambda one: (one.begin, -one.end)):
        while open_ and open_[-1].end < loop.begin:
            open_.pop()
        (open_[-1].inner if open_ else outermost).append(loop)
        open_.append(loop)
    return outermost


def pipe(text: str) -> str:
    """The part of the processor that an instruction needs beside its issue."""
    name = re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]
    if name in _FMA:
        return "fma"
    if name == "IMAD":
        return "issue" if "IMAD.MOV" in text else "imad"
    if name in _FP64 or "F64" in text:
        return "fp64"
    if name in _LOADS:
        return "load"
    if name in _TENSOR:
        return "tensor"
    return "issue" if name in _NEITHER or name.startswith("U") else "alu"


def pieces(text: str) -> float:
    """How often an instruction takes the cycles of its pipe.

    Four warps' product of 64 by 16 numbers of 16 bits with 16 by N takes N / 2 cycles: it reaches
    the full rate, half of that of bytes.
    """
    found = re.search(r"\bHGMMA\.64x(\d+)x16\b", text)
    return int(found[1]) / (2 * CYCLES["tensor"]) if found else 1.0


def executed(code: Sequence[tuple[int, str]], trips: Sequence[Sequence[float]]) -> Counter[str]:
    """Instructions that a thread executes, by pipe; "issue" counts all of them.

    Args:
        code: of a kernel.
        trips: for each outermost loop how often it goes round, then the loop inside, and so on,
            each for one round of the one around it.

    Raises:
        ValueError: the code has other loops.
    """
    total: Counter[str] = Counter()

    def count(begin: int, end: int, inner: list[Loop], times: float, rest: Sequence[float]) -> None:
        for address, text in code:
            inside = any(loop.begin <= address <= loop.end for loop in inner)
            if begin <= address <= end and not inside:
                total["issue"] += times  # type: ignore[assignment]
                kind = pipe(text)
                if kind != "issue":
                    total[kind] += times * pieces(text)  # type: ignore[assignment]
        for loop in inner:
            if not rest:
                raise ValueError("a loop more than was expected")
            count(loop.begin, loop.end, loop.inner, times * rest[0], rest[1:])

    outermost = loops(code)
    if len(outermost) != len(trips):
        raise ValueError(f"{len(outermost)} loops; {len(trips)} were expected")
    count(0, code[-1][0], [], 1.0, ())
    inside = Counter[str]()
    total, straight = inside, total
    for loop, times in zip(outermost, trips, strict=True):
        count(loop.begin, loop.end, loop.inner, times[0], times[1:])
        for address, text in code:
            if loop.begin <= address <= loop.end:
                straight["issue"] -= 1
                if pipe(text) != "issue":
                    straight[pipe(text)] -= pieces(text)  # type: ignore[assignment]
    return straight + inside


def cycles(counts: Counter[str]) -> dict[str, float]:
    """Cycles of each pipe of a quarter of a multiprocessor for a warp; the largest binds."""
    found = {name: float(each * counts[name]) for name, each in CYCLES.items()}
    found["fma"] += counts["imad"]  # which occupy one of its two pipes
    return found
