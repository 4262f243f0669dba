"""Every error says what, why, and how to fix it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu.cli.root import root
from biasgpu.errors import BiasgpuError

ROOT = Path(__file__).parent.parent
KINDS = {"BiasgpuError", "UsageError", "RefusedError", "DamagedFileError", "ResourceError"}


def _errors() -> list[tuple[str, set[str]]]:
    """Where an error is made in the sources, and which of its parts are given there."""
    found = []
    for folder in ("biasgpu", "cli"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in KINDS:
                    given = {str(keyword.arg) for keyword in node.keywords}
                    found.append((f"{file.relative_to(ROOT)}:{node.lineno}", given))
    return found


def test_every_error_in_the_sources_has_three_parts() -> None:
    errors = _errors()
    assert len(errors) > 100
    assert [place for place, given in errors if not given >= {"why", "fix"}] == []


@pytest.mark.parametrize(
    "arguments",
    [
        *("--threads 0", "--depth -1", "--n-train 3", "--fits 0", "--time 0", "--confidence 2"),
        *("--seed -1", "--arch paper-mlp --depth 9", "--prior uniform:x", "--engine gpu"),
        *("--nonsense", "--device gpu", "--engine cpu --device cuda", "--first-index 1"),
    ],
)
def test_in_the_shell(arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(root, ["sample", *arguments.split()])
    assert result.exit_code == 2
    for label in ("Error: ", "\nWhy:   ", "\nFix:   "):
        assert label in result.stderr


X, Y = np.arange(8.0).reshape(4, 2), [0, 0, 1, 1]


@pytest.mark.parametrize(
    "arrays",
    [
        *((X[:3], Y, X, Y), (X, Y, X[:3], Y), (X, Y, X[:, :1], Y), (X, [Y], X, Y), (X, Y, X)),
        *(
            (X.astype(str), Y, X, Y),
            (X[:, :0], Y, X, Y),
            (X, [0, 0, 0, 0], X, Y),
            ({"x_train": X},),
        ),
    ],
)
def test_from_python(arrays: tuple) -> None:
    with pytest.raises(BiasgpuError) as caught:
        biasgpu.task_from_arrays(*arrays)
    assert caught.value.why and caught.value.fix
