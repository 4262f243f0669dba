"""Trained networks in a file: reopened, interrupted, resumed, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import biasgpu
from biasgpu.errors import DamagedFileError, RefusedError, UsageError
from biasgpu.fits import OPTIONAL
from biasgpu.results.header import HEADER_BYTES
from biasgpu.sampling.events import Finished, Interrupted, Note, Progress
from biasgpu.training import trainers
from biasgpu.training.trained import Trained
from biasgpu.training.trainers.reference import ReferenceTrainer
from tests.runs import interrupting
from tests.stores import change_rows, reseal
from tests.train_cases import assert_same, assert_same_fits, train


@pytest.fixture(scope="module")
def whole() -> Trained:
    return train()


def test_a_file_holds_what_was_trained(whole: Trained, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    made = train(path, keep_predictions=True)
    found = biasgpu.open(path)
    assert isinstance(found, Trained)
    assert_same(found, made)
    assert_same_fits(found.fits, made.fits)
    assert found.recipe == whole.recipe
    assert found.summary()["success_rate"] == whole.success_rate
    assert found.verify().ok
    with path.open("rb") as file:
        assert b'"format_version": 2' in file.read(HEADER_BYTES)
    with h5py.File(path) as file:
        assert file.attrs["format_version"] == 2
        for name, about in OPTIONAL.items():
            item = file.get(f"fits/{name}")
            if item is not None:
                assert isinstance(item, h5py.Dataset)
                assert item.attrs["units"] == about.units
                assert [axis.label for axis in item.dims] == ["row", *about.labels]


def test_interrupted_and_resumed(whole: Trained, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    events: list[Any] = []

    def on_event(event: Any) -> None:
        events.append(event)
        stop(event)

    stop = interrupting(Progress, 3)
    with pytest.raises(KeyboardInterrupt):
        train(path, batch_networks=2, on_event=on_event)
    assert isinstance(events[-1], Interrupted)
    found = biasgpu.open(path)
    assert (found.n_networks, found.stop_reason, found.complete) == (6, "interrupted", False)
    assert_same_fits(found.fits, events[-1].run.fits)
    done = biasgpu.resume(path)
    assert_same(done, whole)
    assert_same(biasgpu.open(path), whole)
    again = biasgpu.resume(path, on_event=events.append)
    assert isinstance(events[-1], Note) and "reached its stopping rule" in events[-1].text
    assert_same(again, whole)
    more = biasgpu.resume(path, networks=30, on_event=events.append)
    assert isinstance(events[-1], Finished) and events[-1].reason == "networks"
    assert_same(more, train(networks=30))


def test_resumed_by_fits(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    train(path, fits=2, networks=None)
    assert_same(biasgpu.resume(path, fits=4), train(fits=4, networks=None))


def test_without_weights(whole: Trained, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    made = train(path, networks=15, keep_weights=False)
    assert made[0].weights()  # in memory they are
    found = biasgpu.open(path)
    assert found.fits.weights is None
    for attempt in (lambda: found[0], lambda: found.parameters(0, 1), lambda: found.at_epoch(4)):
        with pytest.raises(UsageError, match="weights of these networks were not kept") as caught:
            attempt()
        assert "keep_weights=True" in caught.value.fix and "--no-weights" in caught.value.fix
    assert len(found.at_epoch(0)) == len(found.fits)  # drawn again
    checked = found.verify()
    assert checked.ok and checked.n_checked == 0
    assert "were not kept" in checked.notes[0]
    done = biasgpu.resume(path, networks=24)
    assert_same_fits(done.fits, whole.fits.with_optional({"epochs", "gradient_norm"}))


def test_rules_are_those_of_the_file(tmp_path: Path) -> None:
    path, drawn = tmp_path / "run.h5", tmp_path / "drawn.h5"
    train(path, networks=2)
    with pytest.raises(UsageError, match="candidates does not go with"):
        biasgpu.resume(path, candidates=10)
    biasgpu.sample(biasgpu.task("kink", n_train=4), biasgpu.mlp(3, 1), candidates=20, output=drawn)
    with pytest.raises(UsageError, match="networks does not go with"):
        biasgpu.resume(drawn, networks=10)
    with pytest.raises(RefusedError, match="exists"):
        train(path)


def test_a_changed_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    made = train(path)
    changed = made.fits.margin[0] + 1.0
    change_rows(path, "margin", 0, np.float64(changed).tobytes())
    checked = biasgpu.open(path).verify()
    assert not checked.ok and "margin is" in checked.problems[0]
    with pytest.raises(RefusedError, match="its margin differs"):
        biasgpu.resume(path, networks=40)


def test_weights_that_training_does_not_lead_to_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    train(path)

    class Other(ReferenceTrainer):
        def train(self, draws: Any) -> Any:
            found = super().train(draws)
            found.weights[:, 0, 0] += 1.0
            return found

    def make(name: str, *args: Any, gradient_norms: bool, **_: Any) -> Other:
        return Other(*args, gradient_norms=gradient_norms)

    monkeypatch.setattr(trainers, "make", make)
    with pytest.raises(RefusedError, match="its weights differs"):
        biasgpu.resume(path, networks=40)
    # Another engine may round otherwise; that is said, and what is stored stays.
    monkeypatch.setattr(Other, "name", "other")
    notes: list[Any] = []
    biasgpu.resume(path, networks=26, engine="other", on_event=notes.append)
    texts = [event.text for event in notes if isinstance(event, Note)]
    assert any("rounded differently" in text for text in texts)


def test_an_initialisation_of_another_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    made = train(path)
    row = int(np.argmax(np.diff(made.fits.index) > 2))  # there is a name in between
    change_rows(path, "index", row, (made.fits.index[row] + np.uint64(2)).tobytes())
    assert "epoch 0 are not those of its name" in biasgpu.open(path).verify().problems[0]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("prefix", np.uint16(5).tobytes(), "none of a network that was trained so"),
        ("epochs", np.int64(5).tobytes(), "none of a network that was trained so"),
        ("epochs", np.int64(-1).tobytes(), "epochs lies below 0"),
        ("weights", np.float32(np.nan).tobytes(), "weights is infinite or not a number"),
        ("gradient_norm", np.float64(-1).tobytes(), "gradient_norm lies below 0"),
    ],
)
def test_values_are_checked(tmp_path: Path, column: str, value: bytes, says: str) -> None:
    path = tmp_path / "run.h5"
    train(path, networks=12)
    change_rows(path, column, 0, value)
    with pytest.raises(DamagedFileError, match=says):
        biasgpu.open(path)


def test_columns_must_be_those_of_the_task_and_layers(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    train(path, networks=12)
    text = b'"gradient_norms": true'
    data = path.read_bytes()
    assert data.count(text) == 1
    path.write_bytes(data.replace(text, b'"gradient_norms":false'))
    reseal(path)
    with pytest.raises(DamagedFileError, match="columns are not those of its configuration"):
        biasgpu.open(path)
