"""Figures draw what there is, also where there is little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import biasgpu
from biasgpu import figures, mlp
from biasgpu.errors import BiasgpuError, RefusedError, UsageError
from biasgpu.run import Run
from biasgpu.sampling import sample
from biasgpu.task import Task


def make_run(candidates: int, *, n_test: int = 6, width: int = 4, seed: int = 0) -> Run:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12 + n_test, 3)).astype(np.float32)
    y = np.arange(12 + n_test) % 2
    task = Task("points", x[:12], y[:12], x[12:], y[12:], ("a", "b"))
    return sample(
        task, mlp(width, 1), "uniform", candidates=candidates, engine="reference", seed=seed
    )


def lines(run: Run | list[Run]) -> dict[str, tuple[list[float], list[float]]]:
    """The lines of the probability panel by their labels."""
    figure = figures.curve(run)
    found = {}
    for line in figure.axes[1].get_lines():
        x, y = (np.asarray(values, dtype=float).tolist() for values in line.get_data())
        found[str(line.get_label())] = (x, y)
    return found


def test_the_lines_are_the_curve() -> None:
    run = make_run(400)
    x, y = lines(run)["mlp width 4 depth 1"]
    assert x == [2, 4, 6, 8, 10, 12]
    expected = [point["minus_log2_fit_probability"] for point in run.curve]
    assert None in expected[-1:]
    assert [None if np.isnan(value) else value for value in y] == expected
    assert lines(run)["independent guessing"] == ([0, 12], [0, 12])
    accuracy = figures.curve(run).axes[0].get_lines()[0]
    means = [point["test_accuracy"]["mean"] for point in run.curve]
    drawn = np.asarray(accuracy.get_ydata(), dtype=float)
    assert [None if np.isnan(value) else value for value in drawn] == means


@pytest.mark.parametrize("candidates", [2, 20, 400])
@pytest.mark.parametrize("n_test", [0, 6])
def test_missing_values(candidates: int, n_test: int, tmp_path: Path) -> None:
    figure = figures.curve(make_run(candidates, n_test=n_test))
    path = figures.save(figure, tmp_path / "new" / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_runs_are_told_apart_by_what_they_differ_in() -> None:
    narrow, wide = make_run(40), make_run(40, width=8)
    assert {"mlp width 4 depth 1", "mlp width 8 depth 1"} <= set(lines([narrow, wide]))
    assert {"seed 0", "seed 1"} <= set(lines([narrow, make_run(40, seed=1)]))
    assert figures.curve([narrow, wide], labels=["one", "two"])
    with pytest.raises(UsageError, match="1 labels for 2 runs"):
        figures.curve([narrow, wide], labels=["one"])
    with pytest.raises(UsageError, match="no run"):
        figures.curve([])


@pytest.mark.parametrize(
    ("ending", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_formats(ending: str, head: bytes, tmp_path: Path) -> None:
    figure = figures.curve(make_run(40))
    path = tmp_path / f"curve.{ending}"
    assert figures.save(figure, path) == path
    assert path.read_bytes().startswith(head)
    with pytest.raises(RefusedError, match="exists"):
        figures.save(figure, path)
    figures.save(figure, path, overwrite=True)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    figure = figures.curve(make_run(4))
    with pytest.raises(UsageError, match=r"unknown figure format '\.jpeg'"):
        figures.save(figure, tmp_path / "curve.jpeg")
    (tmp_path / "file").write_text("")
    with pytest.raises(BiasgpuError, match="could not be written"):
        figures.save(figure, tmp_path / "file" / "curve.png")


def test_no_global_state_is_touched() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.curve(make_run(4))
    assert dict(matplotlib.rcParams) == before
    assert biasgpu.figures is figures
