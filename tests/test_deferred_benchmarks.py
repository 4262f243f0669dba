"""What the benchmarks of method "deferred" count and compare is what they say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks import agreement, cost, cost_figure, deferred_table, plain, records, table
from benchmarks.ceilings import Ceilings
from benchmarks.deferred import ensemble_of, needed, task
from biasgpu import tasks
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.cpu.deferred import DeferredCpuEngine
from biasgpu.sampling.screening import screen

FALSE_ALARMS = 1e-6  # of each statistical test
CEILINGS = Ceilings(1e9, 2e9, 3e9, 4e9)


@pytest.mark.parametrize("way", plain.WAYS)
def test_plain_pytorch_finds_fits_as_often_as_the_engine(way: str) -> None:
    training = tasks.task("mnist", (7, 0), n_train=4, data_seed=200)
    x, y = torch.from_numpy(training.x_train), torch.from_numpy(training.y_train)
    torch.manual_seed(1)
    width, batch, runs = 8, 500, 8
    threads = 2
    with plain.torch_threads(way, threads):
        runner, size = plain.tune(
            way, width, 2, x, y, threads=threads, seconds=0.0, batches=(batch,)
        )
        fits = [runner.run() for _ in range(runs)]
    assert size == batch
    n = runner.batch * runs

    ensemble = ensemble_of(width, training)
    engine = DeferredCpuEngine(ensemble, training.x_train, training.y_train, threads=1)
    prefixes, _ = screen(engine, 0, 10 * n)
    engine.close()
    found = int((prefixes == training.n_train).sum())
    # A draw has one fit at most: no two arrangements classify a sample of class 1 alike.
    test = stats.fisher_exact([[sum(fits), n - sum(fits)], [found, 10 * n - found]])
    assert float(test.pvalue) > FALSE_ALARMS  # type: ignore[attr-defined]
    assert sum(fits) > 50


def test_plain_pytorch_counts_the_fits_of_its_matrices() -> None:
    # So narrow that samples with no activation at all, whose logits tie, are among them.
    x, y = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0])
    runner = plain.Plain(6, 2, x, y, batch=400)
    found, fits = runner.run(), 0
    for i in range(400):
        h = x
        for number, weights in enumerate(runner._kept):
            h = h @ weights[i].T
            h = torch.relu(h) if number < 2 else h
        fits += int(any(torch.equal(h[:, [a, 1 - a]].argmax(1), y) for a in (0, 1)))
    assert found == fits > 0
    stds = [float(weights.std()) for weights in runner._kept]
    assert stds == pytest.approx([math.sqrt(2 / n) for n in (5, 6, 6)], rel=0.06)


def test_the_floor_counts_normals_and_products() -> None:
    # Three samples, ten draws: seven err at the second sample, five of them by signs.
    counts = np.array([0, 7, 2, 1])
    normals, products = needed(counts, width=5, depth=2)
    samples = 2 * 2 + 2 * 3 + 1 * 3
    assert normals == (5 * 4 + samples * (2 * 5 + 2)) / 10
    # Two samples take 1 + 2 products for images and as many for Gram-Schmidt, three 1 + 2 + 3.
    assert products == (2 * 3 + 2 * 6 + 1 * 6) * (2 * 2 * 5 + 2) / 10


def test_half_of_the_draws_are_settled_by_signs() -> None:
    training = task()
    ensemble = ensemble_of(16, training)
    assert isinstance(ensemble, DeferredEnsemble)
    engine = DeferredCpuEngine(ensemble, training.x_train, training.y_train, threads=1)
    prefixes, _ = screen(engine, 0, 4096)
    engine.close()
    at_the_second = int((prefixes == 1).sum())
    # At least half, in all but one of a million runs; a few silent layers do not count.
    assert at_the_second > stats.binom.ppf(FALSE_ALARMS, 4096, 0.5)


def test_slope() -> None:
    widths = [16, 256, 512, 1024]
    assert cost.slope(widths, [99.0, *(3e-4 * n**1.5 for n in widths[1:])]) == pytest.approx(1.5)
    assert cost.slope(widths, [2.0 * n for n in widths], start=1) == pytest.approx(1.0)
    assert math.isnan(cost.slope([16, 256], [1.0, 2.0]))


def test_an_engine_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert agreement.direct_disagreements(8, 64) == []
    assert agreement.deferred_disagreements(16, 64) == []
    right = DeferredCpuEngine.screen

    def wrong(self: DeferredCpuEngine, first_draw: int, n_draws: int) -> np.ndarray:
        prefixes = right(self, first_draw, n_draws)
        prefixes[3] += 1
        return prefixes

    monkeypatch.setattr(DeferredCpuEngine, "screen", wrong)
    assert agreement.deferred_disagreements(16, 64, first_draw=100) == [103]


def _cost_rows() -> list[dict[str, str]]:
    rows = [cost.Row(f"deferred-cost-{n}", 1e9 / n, 0.0, 0.0) for n in (256, 512, 1024)]
    rows += [cost.Row(f"direct-cost-{n}", 1e9 / n**2, 0.0, 0.0) for n in (16, 256, 512)]
    return records.complete(rows, CEILINGS, threads=2)


def test_the_figure_is_drawn_from_rows(tmp_path: Path) -> None:
    figure = cost_figure.draw(_cost_rows())
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == [
        "method deferred: slope 1.00 from width 256",
        "method direct: slope 2.00 from width 256",
    ]
    path = cost_figure.save(figure, tmp_path / "cost.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5000


def test_rows_of_other_columns_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("time,work,old\nthen,lenet-1/6,7\n")
    records.append(_cost_rows(), path)
    rows = records.read(path)
    assert [row["work"] for row in rows[:2]] == ["lenet-1/6", "deferred-cost-256"]
    assert (rows[0]["old"], rows[0]["low"], rows[1]["old"]) == ("7", "", "")
    assert records.latest(rows, deferred_table.belongs) == rows[1:]
    assert records.latest(rows, "lenet-1/6".__eq__) == rows[:1]
    assert "| 1.00 | below 1.1 |" in deferred_table.markdown(rows)


def test_the_table_against_the_published_way_has_no_other_works() -> None:
    assert all(row["baseline_per_s"] for row in table.latest())
