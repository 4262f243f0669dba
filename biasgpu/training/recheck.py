"""Is what a file of trained networks says true? Its weights are decided again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from biasgpu import given
from biasgpu.drawn import drawn_parameters
from biasgpu.recheck import CHUNK_VALUES, Recheck, add_problem, check_totals, differences

if TYPE_CHECKING:
    from biasgpu.training.trained import Trained


def recheck(
    trained: Trained,
    *,
    threads: int | None = None,
    on_progress: Callable[[Recheck], None] | None = None,
) -> Recheck:
    """Decide every kept network again from its stored weights.

    Checked are training error, margin, test accuracy, overall and per class, and predictions if
    kept; the weights of epoch 0, if kept, against the draw; the totals against the rows. That the
    weights are those that training leads to is not checked: that takes training them again.

    Args:
        trained: most likely from `biasgpu.open`.
        threads: CPU threads; None takes all.
        on_progress: called now and then.
    """
    task, fits, steps = trained.task, trained.fits, trained.steps
    found = Recheck(n_rows=len(fits))
    start = time.monotonic()
    check_totals(trained, found)
    if fits.weights is None:
        found.n_rows = 0
        found.notes.append(
            f"the weights of {len(fits):,} networks were not kept, so that nothing can be decided "
            "again; train again with keep_weights=True (without --no-weights)"
        )
        return found
    x = np.concatenate([task.x_train, task.x_test])
    begins = 0 in trained.recipe.keep_epochs
    chunk = max(1, CHUNK_VALUES // max(1, len(x) * steps[-1].out_shape[0]))
    for begin in range(0, len(fits), chunk):
        part = fits.take(slice(begin, begin + chunk))
        assert part.weights is not None
        logits = given.logits(steps, part.weights[:, -1], x, threads=threads)
        drawn = drawn_parameters(trained.ensemble, part.index) if begins else None
        for row in range(len(part)):
            wrong = differences(trained.ensemble, task, part, row, logits[row])
            if part.prefix[row] != task.n_train:
                wrong.append(f"it is kept with a prefix of {part.prefix[row]}")
            if drawn is not None and not np.array_equal(drawn[row], part.weights[row, 0]):
                wrong.append("the weights of epoch 0 are not those of its name")
            found.n_checked += 1
            if wrong:
                found.n_wrong += 1
                add_problem(found, f"index {part.index[row]}: {'; '.join(wrong)}")
        found.elapsed_s = time.monotonic() - start
        if on_progress:
            on_progress(found)
    found.elapsed_s = time.monotonic() - start
    return found
