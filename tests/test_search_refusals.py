"""What searches refuse."""

from __future__ import annotations

import pytest

import biasgpu
from biasgpu.errors import UsageError


def test_batch_norms_are_refused_before_anything_runs() -> None:
    task = biasgpu.task("mnist", n_train=4)
    with pytest.raises(UsageError, match="does not take networks with batch norms"):
        biasgpu.train(task, biasgpu.resnet4("1/6"), networks=1, optimizer="pattern-search")
