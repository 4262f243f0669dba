"""Studies that cannot be are refused before anything of them is made."""

from __future__ import annotations

from pathlib import Path

import pytest

import biasgpu
from biasgpu.errors import UsageError
from biasgpu.experiments.api import plan_of
from biasgpu.study import Study
from tests.experiments import SMALL, write

CELLS = 'arch = "mlp"\nwidths = [4, 6]\ndepths = [1]\nbias = "prior"\n'
assert CELLS in SMALL


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (CELLS, 'arch = "lenet"\n', "lenet width 2.6 depth 2c-3f: Conv2d needs inputs of shape"),
        (CELLS, 'arch = "resnet4"\n', "resnet4 .*: Conv2d needs inputs of shape"),
        ("[4, 6]", "[4, 10_000_000_000]", "mlp width 10000000000 depth 1.*: the network has"),
        (
            'data = "kink"\n',
            'data = "mnist"\nsource = "embedded"\nn_train = 500\n',
            "n_train is 500; ",
        ),
    ],
)
def test_an_experiment_with_an_impossible_cell_is_refused_and_leaves_nothing(
    old: str, new: str, what: str, tmp_path: Path
) -> None:
    # One that names N itself keeps the other.
    text = SMALL.replace("n_train = 4\n", "") if "n_train" in new else SMALL
    path = write(tmp_path, text.replace(old, new))
    folder = tmp_path / "made"
    for make in (biasgpu.run_definition, plan_of):
        with pytest.raises(UsageError, match=what):
            make(path, output=folder, engine="cpu")
        assert not folder.exists()


def test_a_comparison_is_refused_where_no_cell_can_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Conv2d needs inputs of shape"):
        biasgpu.compare(data="kink", arch="lenet", n_train=4, output=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_so_many_samples_as_no_memory_holds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"n_train is 1e\+30; it must be at most 1,048,576\."):
        Study(n_train=10**30, n=(2,))
