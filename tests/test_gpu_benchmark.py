"""The benchmark of the GPU runs from end to end at toy size, and its table says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from benchmarks import baseline, gpu, gpu_names, gpu_table, published_prediction, records
from benchmarks.vmapped import Vmapped
from biasgpu import tasks
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.engines import triton_device

ABOUT = {"gpu": "A GPU", "driver": "1.2", "torch": "2.x", "triton": "3.x"}


class Runner:
    """Runs at a speed of its own: networks a second by batch size; 0 is a full memory."""

    def __init__(self, batch: int, speeds: dict[int, float]) -> None:
        self.batch = batch
        if not speeds[batch]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def run(self) -> int:
        return 0


def _toy(work: str) -> tuple[Any, Architecture, str, str]:
    method = "deferred" if work == gpu_names.DEFERRED else "direct"
    prior = "kaiming-normal" if method == "deferred" else "uniform"
    net = mlp(4, 0) if method == "deferred" else mlp(3, 1)
    return tasks.task("kink", n_train=4), net, prior, method


def test_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, append = tmp_path / "results.csv", records.append
    monkeypatch.setattr(gpu, "setting", _toy)
    monkeypatch.setattr(gpu, "BATCHES", (4, 8))
    monkeypatch.setattr(gpu, "BACKEND", "eager")
    monkeypatch.setattr(gpu, "CHECKED", 5)
    monkeypatch.setattr(triton_device, "about", lambda _: ABOUT)
    monkeypatch.setattr(records, "append", lambda rows: append(rows, csv))
    monkeypatch.setattr(gpu.disagreements, "__defaults__", (5,))
    monkeypatch.setattr(gpu.tuned, "__defaults__", ((4, 8),))
    gpu.main(["mlp-2-8-1", gpu_names.DEFERRED, "--repeats", "2", "--seconds", "0.01"])
    printed = capsys.readouterr().out
    assert "x the published way" in printed and "gpu-deferred-512 check 0" in printed
    rows = records.read(csv)
    assert len({row["time"] for row in rows}) == 1
    works = [row["work"] for row in rows]
    assert works[0] == "gpu-mlp-2-8-1" and "gpu-mlp-2-8-1 decide 1" in works
    whole = rows[0]
    assert float(whole["ratio"]) == pytest.approx(
        float(whole["candidates_per_s"]) / float(whole["baseline_per_s"])
    )
    assert float(whole["vmap_per_s"]) > 0 and int(whole["vmap_batch"]) in (4, 8)
    assert whole["gpu"] == "A GPU" and float(whole["gpu_tf32_flops_per_s"]) > 0
    table = gpu_table.markdown(records.read(records.PREDICTIONS), rows)
    assert "Measured on A GPU (driver 1.2), torch 2.x" in table and "Nothing was" not in table
    line = next(one for one in table.splitlines() if one.startswith("| mlp-2-8-1"))
    assert f"{float(whole['ratio']):,.0f} x (batches of {whole['batch']})" in line
    assert f"{float(whole['candidates_per_s']):,.0f} (" in line
    assert "| deferred-512 |  |" in table  # nothing is predicted of it here
    kernels = gpu_table.kernels(rows)
    assert kernels.count("\n") == 1 + sum(bool(row["draws_per_s"]) for row in rows)


def test_nothing_is_reported_of_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "setting", _toy)
    monkeypatch.setattr(gpu.disagreements, "__defaults__", (5,))
    right = gpu.decide_prefixes

    def wrong(engine: Any, draws: Any) -> Any:
        found = right(engine, draws)
        found[3] += 1
        return found

    assert gpu.disagreements("mlp-2-8-1", None) == []
    monkeypatch.setattr(gpu, "decide_prefixes", wrong)
    with pytest.raises(SystemExit, match=rf"disagrees with the law on draws \[{2**40 + 3}\]"):
        gpu.main(["mlp-2-8-1", "--no-write"])
    with pytest.raises(SystemExit):
        gpu.main(["no-such-work"])


def test_others_are_tuned_until_memory_is_full_or_speed_falls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = list[int]()

    def found(speeds: dict[int, float]) -> gpu.Other:
        tried.clear()

        def rate(runner: Runner, seconds: float) -> float:
            tried.append(runner.batch)
            return speeds[runner.batch]

        monkeypatch.setattr(baseline, "rate", rate)
        return gpu.tuned(lambda batch: Runner(batch, speeds), 2, 1.0, sorted(speeds))

    assert found({1: 1.0, 2: 3.0, 4: 2.5, 8: 0.0, 16: 9.0}) == gpu.Other(3.0, 3.0, 3.0, 2)
    assert tried == [1, 2, 4, 2, 2]
    assert found({1: 4.0, 2: 2.0, 4: 9.0}).batch == 1
    assert found({1: 0.0, 2: 1.0}) == gpu.Other()


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        (lenet("1/6"), (1, 20, 20)),
        (paper_mlp("1/6", 2), (1, 6, 8)),
        (mlp(3, 1, head="one-logit", bias="prior"), (2,)),
    ],
)
def test_vmap_computes_what_grouped_convolutions_do(
    architecture: Architecture, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, *shape, generator=generator), torch.tensor([0, 1, 0])
    ours = Vmapped(architecture, x, y, 5, backend="eager")
    theirs = baseline.Baseline(architecture, x, y, 5)
    assert 0 <= ours.run() <= 5
    left = iter(ours.weights)
    for pair in theirs.weights:
        for part in () if pair is None else pair:
            if part is not None:
                part.copy_(next(left).reshape(part.shape))
    assert next(left, None) is None
    with torch.inference_mode():
        h = theirs.x
        for step, pair in zip(theirs.steps, theirs.weights, strict=True):
            h = theirs._apply(step, pair, h)
        logits = h.view(len(x), theirs.batch, -1).transpose(0, 1)
    # Sums of some hundred terms of weights below 1, through five layers.
    torch.testing.assert_close(ours._all(ours.weights, x), logits, rtol=1e-4, atol=1e-3)


def test_predictions_of_the_published_way() -> None:
    for work in baseline.WORKS:
        most, expected = published_prediction.at_most(work), published_prediction.expected(work)
        assert 0 < expected < most
        assert 0 < published_prediction.cpu_share(work) < 1
    # 2-8-1 on 60 points: words of weights, inputs, and each layer's numbers written and read.
    found = published_prediction.passes("mlp-2-8-1")
    assert [one.words for one in found if one.words] == [24, 9]
    assert sum(one.products for one in found) == 60 * (2 * 8 + 8)
    assert [one.moved for one in found][1] == 4 * (60 * 2 + 24 + 60 * 8)
    rows = {row["work"]: row for row in records.read(records.PREDICTIONS)}
    assert set(rows) == set(gpu_names.TARGETS)
    for work, row in rows.items():
        assert float(row["published_at_most_per_s"]) == pytest.approx(
            published_prediction.at_most(work)
        )
        ours = float(row["candidates_per_s"])
        assert ours == pytest.approx(gpu_names.REACHED * float(row["ceiling_candidates_per_s"]))
        assert float(row["ratio_at_least"]) < float(row["ratio"])


def test_without_a_measurement_the_table_says_so() -> None:
    table = gpu_table.markdown(records.read(records.PREDICTIONS), [])
    assert "Nothing was measured yet" in table and "Predictions are no measurements" in table
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| lenet")]
    assert len(lines) == 1 and lines[0][2] == "" and lines[0][5] == ""
    assert not gpu_table.belongs("lenet-2/6") and gpu_table.belongs("gpu-lenet-2/6")
    assert np.isfinite([float(r["ratio"]) for r in records.read(records.PREDICTIONS)]).all()
