"""Ways in which results could silently have been wrong, each found once and kept out since."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import biasgpu as bg
from biasgpu import priors
from biasgpu.architectures import mlp
from biasgpu.decision import decide
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu.digest import source_digest
from biasgpu.engines.cpu.engine import CpuEngine, stage_ends
from biasgpu.engines.cpu.program import unsupported
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.sampling.pace import Pace


class Sparse(priors.UniformPrior):
    """Half the weights are zero: a subclass that draws otherwise than its parent."""

    def weights(self, words, fan_in):
        weights = super().weights(words, fan_in)
        return np.where(abs(weights) < 0.5 * self.scale(fan_in), np.float32(0), weights)


def _task(n_train: int = 4) -> bg.Task:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    return bg.task_from_arrays(x[:30], y[:30], x[30:], y[30:], name="half", n_train=n_train)


def test_a_prior_that_overrides_its_weights_is_drawn_as_it_says() -> None:
    task, prior = _task(), Sparse("sparse", priors.constant(1.0))
    ensemble = Ensemble(mlp(8, 2, bias="prior"), prior, task.shape, 2, seed=3)
    assert unsupported(ensemble)
    run = bg.sample(task, mlp(8, 2, bias="prior"), prior, candidates=400, seed=3)
    truth = ReferenceEngine(ensemble, task.x_train, task.y_train).screen(0, 200)
    assert run.prefix_counts.tolist() == np.bincount(truth, minlength=5).tolist()


def test_a_file_does_not_reopen_with_another_prior_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priors, "_REGISTERED", {})
    path = tmp_path / "run.h5"
    mine = priors.register(priors.UniformPrior("mine", priors.constant(0.1)))
    bg.sample(_task(), mlp(8, 1), mine, candidates=200, output=path)
    assert bg.open(path).prior == mine
    priors._REGISTERED["mine"] = priors.UniformPrior("mine", priors.constant(0.2))
    with pytest.raises(UsageError, match="not the one that the file was made with"):
        bg.open(path)


def test_names_of_priors_are_not_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "_REGISTERED", {})
    with pytest.raises(UsageError, match="not the built-in prior"):
        priors.make(priors.UniformPrior("uniform", priors.constant(0.1)))
    priors.register(priors.UniformPrior("mine", priors.constant(0.1)))
    priors.register(priors.UniformPrior("mine", priors.constant(0.1)))
    with pytest.raises(UsageError, match="registered"):
        priors.register(priors.UniformPrior("mine", priors.constant(0.3)))


def test_a_logit_that_is_not_finite_counts_up_to_the_first_error_only() -> None:
    ensemble = Ensemble(mlp(4, 1), priors.make("uniform"), (3,), 2, seed=0)
    labels, draws = np.array([0, 1, 0, 1]), np.array([7], dtype=np.uint64)
    right, wrong, bad = [1.0, 0.0], [0.0, 1.0], [np.inf, np.nan]
    late = np.array([[right, right, bad, right]])  # the second is an error: label 1 has the lesser
    assert decide(late, labels, ensemble, draws).prefix.tolist() == [1]
    with pytest.raises(NonFiniteError, match="draw 7"):
        decide(np.array([[right, wrong, bad, wrong]]), labels, ensemble, draws)


def test_every_engine_agrees_on_whether_overflow_is_an_error() -> None:
    x = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    x[10] *= np.float32(1e38) / np.abs(x[10]).max()
    task = bg.Task("big", x, np.arange(12) % 2, x[:10], np.arange(10) % 2, ("a", "b"))
    prior = priors.NormalPrior("big", priors.constant(1e28))
    counts = [
        bg.sample(task, mlp(4, 9), prior, candidates=60, engine=engine).prefix_counts.tolist()
        for engine in ("reference", "cpu")
    ]
    assert counts[0] == counts[1]


def test_a_slow_engine_is_never_asked_for_less_than_it_does_at_once() -> None:
    pace = Pace(granularity=4096, minimum=32)
    pace.measured(64, 60.0)
    assert pace.next() == 32
    pace.measured(32, 0.01)
    assert pace.next() % 32 == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_an_engine_works_in_a_forked_child() -> None:
    task = _task()
    ensemble = Ensemble(mlp(8, 1), priors.make("uniform"), task.shape, 2, seed=1)
    engine = CpuEngine(ensemble, task.x_train, task.y_train, threads=2)
    here = engine.screen(0, 200)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(engine.screen(0, 200), here) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_stages_keep_to_their_limit() -> None:
    assert stage_ends(40).tolist() == [2, 4, 8, 16, 32, 40]
    assert stage_ends(40, costly_weights=True).tolist() == [4, 8, 16, 32, 40]
    assert stage_ends(5, costly_weights=True, limit=1).tolist() == [1, 2, 3, 4, 5]


def test_the_last_draw_of_a_run_that_stops_at_a_fit_is_no_sample_of_smaller_n() -> None:
    run = bg.sample(_task(), mlp(8, 1), "uniform", fits=1, seed=4)
    assert run.stopped_by == "fits"
    last = run[0].index
    assert last in run.fits.index
    assert last not in run.fits_at(2).index
    assert run.fits_at(4).index.tolist() == [last]


def test_the_marker_of_borderline_is_part_of_the_digest() -> None:
    import inspect

    from biasgpu.engines.cpu import digest

    assert "biasgpu.engines.base" in inspect.getsource(digest.source_digest)
    assert source_digest() > 0
    assert BORDERLINE == 0xFFFF
