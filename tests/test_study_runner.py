"""Studies made, interrupted, gone on with and extended: the same cells whatever happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import biasgpu
from biasgpu.errors import BiasgpuError, RefusedError, UsageError
from biasgpu.results.lock import WriterLock
from biasgpu.sampling import events as inner
from biasgpu.study import StudyFolder, events
from biasgpu.study.work import Worker
from tests.studies import N_JOBS, assert_same, make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """The study of `tests.studies`, made in one go."""
    return make(tmp_path_factory.mktemp("studies") / "whole")


def test_what_a_study_holds(whole: StudyFolder) -> None:
    cells = whole.cells()
    assert len(cells) == 2 * 2 * (2 + 2)
    for cell in cells:
        assert cell.problem == ""
        drawn = cell.way == "guess-and-check"
        # A run that ended by its fits leaves its last one out at a smaller N.
        assert cell.n_networks in (
            (3, 4) if drawn and cell.n_train == 2 else (4,) if drawn else (3,)
        )
        assert cell.normalized_loss is not None and cell.weight_normalized_loss is not None
        assert len(cell.normalized_loss) == len(cell.weight_normalized_loss) == cell.n_networks
        assert (cell.optimizer, cell.task) == ("" if drawn else "sgd", "kink below vs above")
        assert cell.about["seed"] == biasgpu.open(whole.path / cell.about["file"]).seed
    assert whole.problems() == {}
    status = whole.status()
    assert (status["state"], status["n_done"], status["n_jobs"]) == ("finished", N_JOBS, N_JOBS)
    json.dumps(whole.summary(), allow_nan=False)


def test_a_file_is_what_sample_and_train_find(whole: StudyFolder) -> None:
    drawn, trained = whole.jobs[0], whole.jobs[2]
    assert (drawn.way, trained.way, trained.n_train) == ("guess-and-check", "sgd", 4)
    run = biasgpu.sample(
        biasgpu.task("kink", n_train=4, data_seed=1), drawn.architecture, "uniform",
        seed=drawn.seed, fits=4, curve_fits=4, candidates=20_000, engine="reference",
    )  # fmt: skip
    stored = biasgpu.open(whole.path / drawn.file)
    assert stored.fits.index.tolist() == run.fits.index.tolist()
    assert stored.prefix_counts.tolist() == run.prefix_counts.tolist()
    again = biasgpu.train(
        biasgpu.task("kink", n_train=4, data_seed=1), trained.architecture, "kaiming-uniform",
        seed=trained.seed, fits=3, epochs=10, learning_rate=0.2, engine="reference",
    )  # fmt: skip
    kept = biasgpu.open(whole.path / trained.file)
    assert kept.fits.index.tolist() == again.fits.index.tolist()
    assert kept.test_accuracy.tolist() == again.test_accuracy.tolist()


def test_nothing_is_made_twice(whole: StudyFolder) -> None:
    before = {name: (whole.path / name).read_bytes() for name in os.listdir(whole.path)}
    seen: list[Any] = []
    again = make(whole.path, on_event=seen.append)
    assert [type(event).__name__ for event in seen] == ["StudyStarted"]
    assert seen[0].n_done == N_JOBS
    assert_same(again.cells(), whole.cells())
    resumed = biasgpu.compare(output=whole.path, engine="reference")  # as it is stored
    assert resumed.definition == whole.definition
    for name, content in before.items():
        if "status" not in name:
            assert (whole.path / name).read_bytes() == content


@pytest.mark.parametrize("place", [1, 2, 5, 23, 40])
def test_interrupted_and_gone_on_with(whole: StudyFolder, tmp_path: Path, place: int) -> None:
    seen: list[Any] = []

    def interrupt(event: Any) -> None:
        seen.append(event)
        if len(seen) == place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "study", on_event=interrupt)
    last = seen[-1]
    assert isinstance(last, events.StudyInterrupted)
    found = biasgpu.open_study(tmp_path / "study")
    assert found.status()["state"] == "interrupted"
    assert found.status()["n_done"] == last.n_done < N_JOBS
    waiting = [cell for cell in found.cells() if cell.problem]
    assert waiting  # what is missing is said, cell by cell
    assert {cell.problem for cell in waiting if not cell.n_networks} <= {
        "not begun",
        *(cell.problem for cell in waiting if "interrupted" in cell.problem),
    }
    assert_same(make(tmp_path / "study").cells(), whole.cells())
    assert not [name for name in os.listdir(tmp_path / "study") if name.endswith(".lock")]


def test_a_cell_that_cannot_be_stops_nothing(whole: StudyFolder, tmp_path: Path) -> None:
    """A LeNet needs images."""
    both = (*whole.definition.architectures, biasgpu.lenet())
    family: dict[str, Any] = dict.fromkeys(("arch", "widths", "depths", "bias"))
    found = make(tmp_path / "study", architectures=both, **family)
    impossible = [job.file for job in found.jobs if job.architecture.name == "lenet"]
    assert sorted(found.problems()) == sorted(impossible) and len(impossible) == 6
    assert all(one["why"] and one["fix"] for one in found.problems().values())
    cells = found.cells()
    lenets = [cell for cell in cells if cell.architecture.name == "lenet"]
    assert len(lenets) == 2 * (2 + 2)  # every cell is there, with its reason
    for cell in lenets:
        assert (cell.n_networks, cell.estimate.probability) == (0, None)
        assert cell.problem == found.problems()[cell.about["file"]]["what"]
    assert_same([cell for cell in cells if cell.architecture.name == "mlp"], whole.cells())
    texts = [text for row in found.summary()["table"] for text in row["problems"]]
    assert len(texts) == len(lenets)
    assert any("lenet" in line for line in found.verdict(cells).left_out)


def test_a_data_seed_that_fails_is_reported(
    tmp_path: Path, whole: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = biasgpu.task

    def failing(*arguments: Any, data_seed: int, **more: Any) -> Any:
        if data_seed == 2:
            raise ValueError("no such page")
        return task(*arguments, data_seed=data_seed, **more)

    with monkeypatch.context() as patched:
        patched.setattr(biasgpu, "task", failing)
        found = make(tmp_path / "study")
    assert len(found.problems()) == N_JOBS // 2
    assert {one["what"] for one in found.problems().values()} == {"ValueError: no such page"}
    assert [cell.problem for cell in found.cells() if cell.data_seed == 2] == (
        ["ValueError: no such page"] * 8
    )
    mended = make(tmp_path / "study")  # tried again, and no longer reported
    assert mended.problems() == {}
    assert_same(mended.cells(), whole.cells())


def test_too_few_networks_are_reported(tmp_path: Path) -> None:
    found = make(
        tmp_path / "study", data_seeds=[1], widths=[4], candidates=2, networks=2, n=[4],
        learning_rate=1e-9,
    )  # fmt: skip
    drawn, trained = found.cells()
    assert drawn.problem == "only 1 of 4 found in 2 candidates: all that were to be tried"
    assert trained.problem == "none of 3 found in 2 trained: all that were to be trained"
    assert found.problems() == {}  # nothing failed
    more = make(
        tmp_path / "study", data_seeds=[1], widths=[4], candidates=20_000, networks=3, n=[4],
        learning_rate=1e-9,
    ).cells()  # fmt: skip
    assert (more[0].problem, more[0].n_networks) == ("", 4)  # larger budgets go on
    assert more[1].problem == "none of 3 found in 3 trained: all that were to be trained"


def test_another_study_is_refused_and_this_one_extended(whole: StudyFolder, tmp_path: Path) -> None:
    path = tmp_path / "study"
    make(path, data_seeds=[1], widths=[4])
    refused: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 5}, "epochs is 10 in the folder, 5 now"),
        ({}, "data_seeds is 1 in the folder, 1, 2 now"),
        ({"fits": 5, "extend": True}, "fits is 4 in the folder, 5 now"),
    ]
    for more, said in refused:
        with pytest.raises(RefusedError) as caught:
            make(path, **more)
        assert said in caught.value.what and caught.value.exit_code == 3
    biasgpu.compare(output=path, extend=True, engine="reference", widths=[6])
    grown = biasgpu.compare(output=path, extend=True, engine="reference", data_seeds=[2])
    assert len(grown.jobs) == N_JOBS
    assert_same(grown.cells(), whole.cells())
    make(path)  # is that study now
    assert make(path, data_seeds=[1], extend=True).definition == grown.definition


def test_one_process_at_a_time(whole: StudyFolder) -> None:
    lock = WriterLock(whole.path / "study.json")
    try:
        with pytest.raises(RefusedError) as caught:
            make(whole.path)
        assert f"pid {os.getpid()}" in str(caught.value)
        assert "one process at a time works on a study" in str(caught.value)
        assert len(whole.cells()) == 16  # which anyone may read meanwhile
    finally:
        lock.release()


def test_a_full_disk_ends_it_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "no space left")

    def failing(self: Worker, job: Any) -> None:
        raise BiasgpuError("it failed.", why="a test.", fix="none.")

    monkeypatch.setattr(Worker, "make", failing)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BiasgpuError, match="the disk is full") as caught:
        make(tmp_path / "study")
    assert "biasgpu compare --resume" in caught.value.fix


def test_events(tmp_path: Path) -> None:
    seen: list[Any] = []
    make(tmp_path / "study", data_seeds=[1], widths=[4], on_event=seen.append)
    kinds = [event for event in seen if isinstance(event, events.JobStarted | events.JobEnded)]
    assert [type(event) for event in kinds] == [events.JobStarted, events.JobEnded] * 3
    begun = [event for event in kinds if isinstance(event, events.JobStarted)]
    assert [event.place for event in begun] == [1, 2, 3]
    assert begun[1].remaining_s is None and begun[2].remaining_s is not None
    assert sum(isinstance(event, inner.Finished) for event in seen) == 3


def test_no_study_is_begun_on_data_that_are_not_there(tmp_path: Path) -> None:
    family: dict[str, Any] = dict.fromkeys(("arch", "widths", "depths", "bias"))
    with pytest.raises(UsageError):
        make(
            tmp_path / "study", data="mnist", source="official", data_dir=str(tmp_path / "none"),
            **family,
        )  # fmt: skip
    assert not (tmp_path / "study").exists()


def test_networks_at_the_largest_n_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "one", n=(4,))
    drawn = [cell for cell in folder.cells() if cell.way == "guess-and-check"]
    assert {cell.n_train for cell in drawn} == {4}
    assert {cell.n_networks for cell in drawn} == {4}
    stored = biasgpu.open(folder.path / drawn[0].about["file"])
    assert stored.experiment.curve_fits == 0
    wider = biasgpu.compare(output=folder.path, extend=True, n=(2,), engine="reference")
    small = [c for c in wider.cells() if c.way == "guess-and-check" and c.n_train == 2]
    assert all("at N = 4 alone" in cell.problem for cell in small)
    assert small and not any(cell.n_networks for cell in small)
