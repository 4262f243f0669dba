"""Kept epochs of a study: cells of training on its way, and what they leave alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import biasgpu
from biasgpu import Study, figures, measures
from biasgpu.cli.compare_options import NUMBERS, TEXTS, typed
from biasgpu.errors import RefusedError, UsageError
from biasgpu.study import StudyFolder
from biasgpu.study.cells import Cell
from biasgpu.study.draw import draw
from biasgpu.study.jobs import jobs
from biasgpu.study.table import describe, table
from biasgpu.study.verdict import verdict
from tests.studies import make
from tests.study_cells import THREE, make_cell, note, study

KEPT = (1, 3)
SMALL = {"widths": [4], "data_seeds": [1], "n": [4], "keep_epochs": [3, 1], "priors": []}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return make(tmp_path_factory.mktemp("kept") / "study", keep_weights=True, **SMALL)


def on_the_way() -> list[Cell]:
    """Cells at the end of training, and those of two epochs before."""
    cells = study(measures=True)
    trained = [cell for cell in cells if cell.way == "sgd"]
    early = [
        replace(
            cell,
            epoch=epoch,
            test_accuracy=np.full(5, 0.5 + epoch / 100),
            normalized_loss=np.full(5, 0.6),
            weight_normalized_loss=np.full(5, 0.6),
            gradient_norms=None,
            problem="too few",
        )
        for epoch in (20, 3)
        for cell in trained
    ]
    return [*early, *cells]


def test_files_of_one_seed_behind_that_of_the_last_epoch() -> None:
    found = jobs(Study(n_train=4, n=(4,), keep_epochs=(5, 1), priors=()))
    assert [job.epoch for job in found] == [None, 1, 5]
    assert [job.file[-12:] for job in found] == ["ata200-n4.h5", "n4-epoch1.h5", "n4-epoch5.h5"]
    assert len({job.seed for job in found}) == 1
    assert str(found[1]) == f"{found[0]}, after epoch 1"


@pytest.mark.parametrize("kept", [(0, 1), (60,), (1, 1), (1.5,), "1"])
def test_epochs_that_cannot_be_kept(kept: object) -> None:
    with pytest.raises(UsageError, match="keep_epochs"):
        Study(keep_epochs=kept)  # pyright: ignore[reportArgumentType]


def test_definitions() -> None:
    one = Study(keep_epochs=(5, 1))
    assert one.keep_epochs == (1, 5)
    assert Study.from_config(one.to_config()) == one
    before = Study().to_config()
    del before["keep_epochs"]  # as earlier releases wrote it
    assert Study.from_config(before) == Study()
    nothing = dict.fromkeys((*TEXTS, *NUMBERS, "stop_early", "gradient_norms", "no_measures"))
    given = {**nothing, "keep_weights": None, "only": None, "keep_epochs": "1, 5"}
    assert typed(given) == {"keep_epochs": [1, 5]}


def test_a_cell_is_what_long_training_is_at_that_epoch(whole: StudyFolder) -> None:
    cells = whole.cells()
    assert [(cell.epoch, cell.about["epochs"]) for cell in cells] == [(None, 10), (1, 1), (3, 3)]
    job = whole.jobs[0]
    last = biasgpu.open(whole.path / job.file)
    longest = max(cell.estimate.n_candidates for cell in cells)
    long = biasgpu.train(
        last.task, job.architecture, job.prior, networks=longest, seed=job.seed, engine="reference",
        epochs=10, keep_epochs=KEPT, learning_rate=0.2,
    )  # fmt: skip
    seen = 0
    for cell, one in zip(cells[1:], whole.jobs[1:], strict=True):
        assert cell.epoch is not None
        stored = biasgpu.open(whole.path / one.file)
        assert stored.fits.weights is not None
        assert cell.n_networks == stored.n_fits == len(stored.fits) > 0
        # Those that fit both then and at the end are the same networks, bit for bit.
        both, here, there = np.intersect1d(stored.fits.index, long.fits.index, return_indices=True)
        networks = long.at_epoch(cell.epoch)
        flat = networks.parameters(0, len(long.fits))
        np.testing.assert_array_equal(stored.fits.weights[here, -1], flat[there])
        loss = measures.normalized_loss(networks)
        assert cell.normalized_loss is not None
        np.testing.assert_allclose(cell.normalized_loss[here], loss[there], rtol=1e-9)
        np.testing.assert_array_equal(cell.test_accuracy, stored.test_accuracy)
        # Training ends at the success that was asked for last, counted at that epoch.
        assert cell.estimate.n_candidates == stored.n_networks
        row = describe(cell)  # networks without training error, of those that were trained
        assert (row["n_networks"], row["n_trained"]) == (cell.n_networks, stored.n_networks)
        assert stored.n_fits == 3 or stored.n_networks == 30
        seen += len(both)
    assert seen >= 2


def test_what_is_not_kept_costs_no_room(tmp_path: Path) -> None:
    made = make(tmp_path / "study", gradient_norms=True, **SMALL)
    for job in made.jobs:
        found = biasgpu.open(made.path / job.file)
        assert found.fits.weights is None
        assert found.fits.train_logits is not None
        assert (found.gradient_norms is None) == (job.epoch is not None)


def test_epochs_are_added_and_not_exchanged(whole: StudyFolder, tmp_path: Path) -> None:
    first = {**SMALL, "keep_epochs": [3], "keep_weights": True}
    path = make(tmp_path / "study", **first).path
    with pytest.raises(RefusedError, match="keep_epochs is 3 in the folder, 1 now"):
        make(path, **{**first, "keep_epochs": [1]})
    times = {
        job.file: (path / job.file).stat().st_mtime_ns for job in biasgpu.open_study(path).jobs
    }
    grown = biasgpu.compare(output=path, extend=True, keep_epochs=[1], engine="reference")
    assert grown.definition == whole.definition
    assert all((path / name).stat().st_mtime_ns == time for name, time in times.items())
    for one, other in zip(grown.cells(), whole.cells(), strict=True):
        np.testing.assert_array_equal(one.test_accuracy, other.test_accuracy)
        assert (one.epoch, one.estimate) == (other.epoch, other.estimate)


def test_a_file_of_other_epochs_is_a_problem(whole: StudyFolder, tmp_path: Path) -> None:
    copy = StudyFolder(tmp_path, whole.definition)
    last, first, _ = (job.file for job in whole.jobs)
    os.link(whole.path / last, tmp_path / first)
    cell = copy.cells()[1]
    assert (cell.epoch, cell.n_networks) == (1, 0)
    assert "its epochs is 10, not 1" in cell.problem


def test_the_table_has_a_row_for_each() -> None:
    cells = [cell for cell in on_the_way() if cell.way == "sgd"]
    rows = [row for row in table(cells) if row["architecture"] == str(THREE[0])]
    assert [row["epoch"] for row in rows if row["n_train"] == 8] == [20, 3, None]


def test_verdict_and_curves_are_of_the_last_epoch() -> None:
    cells = on_the_way()
    end = [cell for cell in cells if cell.epoch is None]
    assert verdict(cells, resamples=100).to_dict() == verdict(end, resamples=100).to_dict()
    for make_figure in (
        lambda some: figures.curves(some, over="width"),
        lambda some: figures.boxes(some, n_train=8),
        figures.gradient_norms,
    ):
        one, other = make_figure(cells), make_figure(end)
        assert note(one) == note(other)
        assert len(one.axes) == len(other.axes)


def test_one_panel_an_epoch_from_left_to_right() -> None:
    trained = [
        replace(cell, about={"epochs": 60} if cell.epoch is None else {})
        for cell in on_the_way()
        if cell.way == "sgd" and cell.architecture == THREE[0]
    ]
    figure = figures.histogram(trained, n_train=8)
    titles = [axes.get_title().split("\n") for axes in figure.axes[:3]]
    assert [title[0] for title in titles] == ["3 epochs", "20 epochs", "60 epochs"]
    assert titles[0][1] == "mean 0.530, n = 20"  # four data seeds of five networks


def test_figures_by_kind() -> None:
    cells = on_the_way()
    drawn, _ = draw(cells, "epochs", n_train=8)
    assert len(drawn) == 2 * len(THREE)
    assert next(iter(drawn)) == "epochs-1-lenet-width-1-6-depth-2c-3f-kaiming-uniform-normalized-n8"
    alone = [cell for cell in cells if cell.architecture == THREE[1]]
    drawn, _ = draw(alone, "epochs")
    assert list(drawn) == ["epochs-normalized-n16", "epochs-weight-normalized-n16"]
    drawn, _ = draw(cells, "histogram")
    titles = [axes.get_title() for axes in drawn["histogram-normalized-n16"].axes]
    assert not any("epoch" in title for title in titles)
    end = [make_cell([0.5]), make_cell([0.5], way="sgd")]
    with pytest.raises(UsageError, match="at its end alone at N = 8"):
        draw(end, "epochs")
    assert not any(name.startswith("epochs") for name in draw(end)[1])
