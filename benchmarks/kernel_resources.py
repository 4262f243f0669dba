"""What the compilers make of the kernels, on a machine with no GPU: registers, spills, bytes.

    python -m benchmarks.kernel_resources sm_90 gfx942

Prints one JSON object a kernel and target. Triton brings the assemblers of both makers with it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # before kernels are imported

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from biasgpu import rng
from biasgpu.kernels import check, factor, gram, reject, train, train_plan

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DOUBLE = {
    "parameters_ptr", "error_ptr", "limit_ptr", "unit_ptr", "length_ptr", "delta_ptr", "turn_ptr",
    "root_ptr", "sum_error_ptr", "root_error_ptr", "next_error_ptr", "next_limit_ptr",
    "next_unit_ptr", "sums_ptr", "column_ptr", "inverse_ptr",
}  # fmt: skip
ACTIVATIONS = {"gram_ptr", "square_ptr", "top_ptr", "coefficient_ptr", "normal_ptr"}
TRAINING = {
    "operations_ptr": "*i32", "scales_ptr": "*fp64", "x_ptr": "*fp32", "label_ptr": "*i32",
    "orders_ptr": "*i32", "marks_ptr": "*i32", "work_ptr": "*fp32", "kept_ptr": "*fp32",
    "ended_ptr": "*i32", "norms_ptr": "*fp64", "rate": "fp32",
}  # fmt: skip
STREAMS = {"HIDDEN_STREAM": rng.STREAM_DIRECTIONS, "OUTPUT_STREAM": rng.STREAM_OUTPUTS}


def _gram(n_samples: int, rows: int, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "N_SAMPLES": n_samples, "ROWS": rows, "COLUMNS": rows, "LANES": 32, "DIAGONAL": True,
        "EVEN": True, "RECTIFIED": True, "CAN_DIE": False, "WIDE": False, "CHUNKED": False,
        "STREAM": rng.STREAM_DIRECTIONS,
    }  # fmt: skip
    return {**usual, **changes}


def _check(n_samples: int, n_outputs: int, **changes: Any) -> dict[str, Any]:
    usual = {
        "N_SAMPLES": n_samples, "N_OUTPUTS": n_outputs, "LAST": False, "WIDE": False, "BLOCK": 128,
    }  # fmt: skip
    return {**usual, **changes}


def _factor(n_samples: int, can_die: bool, hidden: bool) -> dict[str, Any]:
    return {"N_SAMPLES": n_samples, "CAN_DIE": can_die, "HIDDEN": hidden, "BLOCK": 32}


def _train(optimizer: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "OPTIMIZER": train_plan.STATES[optimizer], "STOP": False, "NORMS": 0,
        "BITS": 32, "NORMAL": False, "STREAM": rng.STREAM_WEIGHTS, "WINDOW": 5, "PADDED": False,
        "E": train_plan.ELEMENTS, "G": train_plan.GROUP,
    }  # fmt: skip
    return {**usual, **changes}


_OUTPUTS = {"STREAM": rng.STREAM_OUTPUTS, "BLOCK": 128}
_REJECT = {**STREAMS, "PROBES": reject.PROBES, "BLOCK": 128}
VARIANTS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "gram 2": (gram._gram_kernel, _gram(2, 2), 1),
    "gram 2 uneven": (gram._gram_kernel, _gram(2, 2, EVEN=False, CAN_DIE=True, LANES=16), 1),
    "gram 4": (gram._gram_kernel, _gram(4, 4), 1),
    "gram 8": (gram._gram_kernel, _gram(8, 8), 1),
    "gram 8 chunked": (gram._gram_kernel, _gram(8, 8, CHUNKED=True), 1),
    "gram 16 pairs": (gram._gram_kernel, _gram(16, 8, COLUMNS=4, DIAGONAL=False), 1),
    "gram 2 wide": (gram._gram_kernel, _gram(2, 2, WIDE=True), 1),
    "gram 4 wide": (gram._gram_kernel, _gram(4, 4, WIDE=True, CHUNKED=True), 1),
    "gram 16 pairs wide": (
        gram._gram_kernel,
        _gram(16, 4, DIAGONAL=False, WIDE=True),
        1,
    ),
    "factor 2": (factor._factor_kernel, _factor(2, False, True), 1),
    "factor 16 dying": (factor._factor_kernel, _factor(16, True, False), 1),
    "outputs": (check._outputs_kernel, {**_OUTPUTS, "WIDE": False}, 4),
    "outputs wide": (check._outputs_kernel, {**_OUTPUTS, "WIDE": True}, 4),
    "check 2": (check._check_kernel, _check(2, 2), 4),
    "check 16 one logit": (check._check_kernel, _check(16, 1, LAST=True, WIDE=True), 4),
    "check 6 of 3": (check._check_kernel, _check(6, 3), 4),
    "reject": (reject._reject_kernel, {**_REJECT, "N_LAYERS": 2, "N_OUTPUTS": 2}, 4),
    # One kernel for all architectures: they are tables in memory.
    "train sgd": (train._train_kernel, _train("sgd"), train_plan.WARPS),
    "train adam normal": (train._train_kernel, _train("adam", NORMAL=True), train_plan.WARPS),
    "train sgd stop": (train._train_kernel, _train("sgd", STOP=True), train_plan.WARPS),
    "train adam stop norms": (
        train._train_kernel,
        _train("adam", STOP=True, NORMS=1),
        train_plan.WARPS,
    ),
    "train any window": (
        train._train_kernel,
        _train("momentum", WINDOW=0, PADDED=True, BITS=8),
        train_plan.WARPS,
    ),
}


def compiled(name: str, target: str) -> dict[str, Any]:
    """Compile a variant.

    Returns:
        its name, its target, and what the target's tools say: registers, bytes of spilled registers
        and of shared memory; for NVIDIA also the number of instructions, and of those between the
        first and the last backward jump.
    """
    kernel, constants, warps = VARIANTS[name]
    signature = {
        argument: "constexpr" if argument in constants else _type(argument, constants)
        for argument in kernel.arg_names
    }
    source = ASTSource(kernel, signature, constexprs=constants)
    options: dict[str, Any] = {"num_warps": warps, "enable_fp_fusion": True}
    if kernel is train._train_kernel and not target.startswith("gfx"):
        options["maxnreg"] = train_plan.max_registers(constants["OPTIMIZER"], constants["NORMS"])
    done = triton.compile(source, target=TARGETS[target], options=options)
    return {"kernel": name, "target": target, **resources(done, target)}


def resources(done: Any, target: str) -> dict[str, Any]:
    """What a target's tools say of a compiled kernel: registers, bytes, instructions."""
    found = {"shared_bytes": done.metadata.shared}
    if target.startswith("sm"):
        return {**found, **_nvidia(done.asm["cubin"])}
    assembly = done.asm["amdgcn"]
    return {
        **found,
        "registers": _number(r"\.vgpr_count:\s+(\d+)", assembly),
        "spilled_bytes": 4 * _number(r"\.vgpr_spill_count:\s+(\d+)", assembly),
        "matrix_products": len(re.findall(r"^\s+v_mfma", assembly, re.MULTILINE)),
    }


def _type(argument: str, constants: dict[str, Any]) -> str:
    if argument in TRAINING:
        return TRAINING[argument]
    if argument in DOUBLE:
        return "*fp64"
    if argument in ACTIVATIONS:
        return "*fp64" if constants.get("WIDE") else "*fp32"
    if argument == "prefix_ptr":
        return "*i16"
    if argument.endswith("_ptr"):
        return "*i64"
    return "i64" if argument == "units_at_first" else "i32"


def _number(pattern: str, text: str) -> int:
    return sum(int(found) for found in re.findall(pattern, text))


def _nvidia(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, listing = (
            subprocess.run(
                [tool, flag, file.name], capture_output=True, text=True, check=True
            ).stdout
            for flag in ("-res-usage", "-sass")
        )
    lines = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+([^;]*);", listing)
    loops = [
        (int(target, 16), int(address, 16))
        for address, text in lines
        for target in re.findall(r"BRA(?:\.U !?UP\d,)? (?:`\(\S+\)|0x)([0-9a-f]+)", text)
        if int(target, 16) < int(address, 16)
    ]
    innermost = min((end - begin for begin, end in loops), default=0) // 16 + bool(loops)
    return {
        "registers": _number(r"REG:(\d+)", usage),
        "spilled_bytes": _number(r"STACK:(\d+)", usage) + _number(r"LOCAL:(\d+)", usage),
        "instructions": sum("NOP" not in text for _, text in lines),
        "matrix_products": sum(bool(re.search(r"\b(U?TC)?[IH]G?MMA\b", t)) for _, t in lines),
        "innermost_loop": innermost,
    }


def rows(targets: list[str]) -> Iterator[dict[str, Any]]:
    """Every variant for every target."""
    for target in targets:
        for name in VARIANTS:
            yield compiled(name, target)


def main() -> None:
    """Print what `rows` finds."""
    for row in rows(sys.argv[1:] or list(TARGETS)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
