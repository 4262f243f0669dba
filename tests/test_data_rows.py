"""Errors on the user's own data count rows as the user does, and name a remedy for the shell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biasgpu.data.own import task_from_arrays, task_from_npz
from biasgpu.errors import ImpossibleTaskError, UsageError

X = np.arange(24, dtype=np.float64).reshape(12, 2)
Y = np.repeat(["ant", "bee", "cow"], 4)
NAMES = ("ant", "bee", "cow")


def changed(row: int, value: float | None = None) -> np.ndarray:
    x = X.copy()
    x[row] = X[8] if value is None else value
    return x


@pytest.mark.parametrize("classes", [None, "cow,bee"])
@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_rows_are_those_of_the_arrays(classes: str | None, shuffle_seed: int | None) -> None:
    options = {"class_names": NAMES, "classes": classes, "shuffle_seed": shuffle_seed}
    with pytest.raises(UsageError, match=r"\(x_train\): sample 6 holds"):
        task_from_arrays(changed(6, np.nan), Y, X, Y, **options)
    with pytest.raises(UsageError, match=r"\(x_test\): sample 9 holds"):
        task_from_arrays(X, Y, changed(9, np.inf), Y, **options)
    with pytest.raises(ImpossibleTaskError) as caught:
        task_from_arrays(changed(5), Y, X, Y, **options)
    one, other = "samples 8 and 5", "labels cow and bee"
    said = caught.value.what
    assert (one in said and other in said) or (
        "samples 5 and 8" in said and "labels bee and cow" in said
    )


def test_the_samples_are_those_that_were_meant() -> None:
    made = task_from_arrays(X, Y, X, Y, class_names=NAMES, classes="cow,bee")
    np.testing.assert_array_equal(made.x_train, X[[8, 4, 9, 5, 10, 6, 11, 7]].astype(np.float32))
    np.testing.assert_array_equal(made.x_test, X[4:].astype(np.float32))
    assert made.y_test.tolist() == [1] * 4 + [0] * 4


def test_label_errors_of_a_file_name_what_the_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(UsageError) as caught:
        task_from_npz(path)
    assert "array class_names in the .npz file (--data mine.npz)" in caught.value.fix
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, class_names=["ant", "bee"])
    with pytest.raises(UsageError, match=r"y_train\[8\] is 'cow'") as caught:
        task_from_npz(path)
    assert "array class_names in the .npz file" in caught.value.fix
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, class_names=NAMES)
    assert task_from_npz(path).class_names == NAMES
