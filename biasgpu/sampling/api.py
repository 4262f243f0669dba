"""`sample` and `resume`: a run from its beginning, and from where it stopped."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from biasgpu import engines
from biasgpu import experiment as experiments
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError
from biasgpu.experiment import Experiment
from biasgpu.fits import Fits
from biasgpu.priors import Prior
from biasgpu.results import StatusFile, Store, provenance
from biasgpu.run import Run
from biasgpu.sampling import resumption
from biasgpu.sampling.events import Note, OnEvent
from biasgpu.sampling.session import Session
from biasgpu.sampling.stopping import Rules
from biasgpu.sampling.totals import Totals
from biasgpu.task import Task


def sample(
    task: Task,
    architecture: Architecture,
    prior: str | Prior = "kaiming-normal",
    *,
    method: str = "auto",
    seed: int = 0,
    fits: int | None = None,
    candidates: int | None = None,
    time_s: float | None = None,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    first_index: int = 0,
    curve_fits: int = 100,
    keep_predictions: bool = False,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    confidence: float = 0.95,
    batch_draws: int | None = None,
) -> Run:
    """Draw networks from a prior and keep those that fit the training set.

    Which fits are found depends on task, architecture, prior, seed and `first_index` alone, and how
    many candidates are tested on the stopping rules (except for `time_s`).

    Args:
        task: what the networks must fit.
        architecture: their layers: `biasgpu.mlp(width=512, depth=2)`.
        prior: the distribution of their weights, by name or as a `Prior`.
        method: "direct" draws every weight; "deferred" draws what a network does to its inputs, the
            same law under Gaussian priors, much faster for wide layers (docs/deferred.md); "auto"
            takes the latter for Gaussian priors and dense layers. Either has names of its own.
        seed: 64-bit seed of the stream of candidates.
        fits: stop at the draw that brings so many fits of the whole training set.
        candidates: stop after so many candidates, rounded up to whole draws.
        time_s: stop after so many seconds. Whichever rule comes first; one at least is needed.
        engine: "auto", "cpu", "torch", "triton" or "reference"; all find the same fits.
        device: "cpu", "cuda", "cuda:1", several with commas, "all"; None lets the engine choose.
        threads: CPU threads; None takes all.
        first_index: the candidate to begin with, the first of its draw.
        curve_fits: fits kept at each N of the curve below n_train, for their test accuracies.
        keep_predictions: keep the predicted class of every test sample with every row.
        output: a results file to make; see `docs/file-format.md`. None keeps results in memory.
        overwrite: replace an existing file, which is kept as `<output>.bak`.
        on_event: called with every event of `biasgpu.sampling.events`.
        confidence: of the intervals.
        batch_draws: draws decided at a time; None adapts them to the speed. Changes no result.

    Raises:
        UsageError: arguments that cannot be, or no stopping rule.
        ImpossibleTaskError: no such network can fit the task.
        RefusedError: `output` exists, or another process is writing it.
        ResourceError: no such device, or a full disk.
        NonFiniteError: a network with a logit that is infinite or not a number.
        KeyboardInterrupt: on Ctrl-C, after what was decided is committed; the event `Interrupted`
            carries the run so far.

    Example:
        run = biasgpu.sample(task, biasgpu.mlp(width=512), "kaiming-normal", fits=1000)
        run.fit_probability, run.test_accuracy.mean(), run[0].module()
    """
    rules = Rules(fits, candidates, time_s).require()
    _check_options(confidence, batch_draws)
    experiment = experiments.make(
        task,
        architecture,
        prior,
        seed=seed,
        first_index=first_index,
        curve_fits=curve_fits,
        keep_predictions=keep_predictions,
        method=method,
    )
    _check_room(experiment, rules)
    for note in (architecture.note, experiment.note):
        if note and on_event is not None:
            on_event(Note(note))
    started_s = time.perf_counter()
    screener = _make_engine(experiment, engine, device, threads)
    store = None
    try:
        about = _about(screener, threads, rules, confidence)
        if output is not None:
            store = Store.create(
                output,
                experiment.to_config(),
                task,
                provenance=about,
                overwrite=overwrite,
                keep_predictions=keep_predictions,
            )
        first = experiment.first_draw
        session = Session(
            experiment,
            rules,
            screener,
            Totals(first, first, np.zeros(task.n_train + 1, np.int64)),
            Fits.empty(task.n_classes, task.n_test, keep_predictions),
            provenance=about,
            confidence=confidence,
            store=store,
            status=None if output is None else StatusFile(output),
            on_event=on_event,
            started_s=started_s,
            threads=threads,
            batch_draws=batch_draws,
        )
        return session.run()
    finally:
        screener.close()
        if store is not None:
            store.close()


def resume(
    path: str | os.PathLike[str],
    *,
    fits: int | None = None,
    candidates: int | None = None,
    time_s: float | None = None,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    on_event: OnEvent | None = None,
    confidence: float | None = None,
    batch_draws: int | None = None,
) -> Run:
    """Go on with a run exactly where it stopped; the result is that of an uninterrupted one.

    A run that has reached its stopping rules is returned as it is.

    Args:
        path: its results file.
        fits, candidates, time_s: new stopping rules, in totals over all sessions; they replace the
            stored ones, which are kept if none is given.
        engine, device, threads: as for `sample`; they need not be those of the first session.
        on_event: called with every event of `biasgpu.sampling.events`.
        confidence: of the intervals; None takes the stored one.
        batch_draws: as for `sample`.

    Raises:
        UsageError: arguments that cannot be.
        RefusedError: another process is writing the file, or stored fits are not what they are
            rebuilt as.
        DamagedFileError: damaged or foreign.
        KeyboardInterrupt: as `sample`.
    """
    given = Rules(fits, candidates, time_s)
    _check_options(0.95 if confidence is None else confidence, batch_draws)
    emit = on_event or (lambda event: None)
    found = resumption.look(path, given, confidence=confidence)
    if found.nothing_to_do:
        emit(Note(found.nothing_to_do))
        return found.run
    _check_room(found.run.experiment, found.rules)
    screener = _make_engine(found.run.experiment, engine, device, threads)
    store = None
    try:
        if screener.notice:
            emit(Note(screener.notice))
        screener.prepare()  # what is stored is rebuilt before the session begins
        started_s = time.perf_counter()
        about = _about(screener, threads, found.rules, found.run.confidence)
        store = Store.reopen(path, provenance=about)
        # Another process may have gone on with it until the file was ours alone.
        found = resumption.look(path, given, confidence=confidence)
        if found.nothing_to_do:
            emit(Note(found.nothing_to_do))
            return found.run
        run = found.run
        resumption.check_stored(run, threads=threads)
        first = run.experiment.first_draw
        history = dict(run.provenance)
        history["resumed"] = [*history.get("resumed", []), about]
        session = Session(
            run.experiment,
            found.rules,
            screener,
            Totals(first, first + run.n_draws, run.prefix_counts, run.n_borderline, run.elapsed_s),
            run.fits,
            provenance=history,
            confidence=run.confidence,
            store=store,
            status=StatusFile(path),
            on_event=on_event,
            started_s=started_s,
            threads=threads,
            batch_draws=batch_draws,
        )
        return session.run()
    finally:
        screener.close()
        if store is not None:
            store.close()


def _make_engine(
    experiment: Experiment, name: str, device: str | None, threads: int | None
) -> engines.Engine:
    task = experiment.task
    return engines.make(
        name, experiment.ensemble, task.x_train, task.y_train, device=device, threads=threads
    )


def _about(
    engine: engines.Engine, threads: int | None, rules: Rules, confidence: float
) -> dict[str, Any]:
    return {
        **provenance.collect(),
        "engine": engine.name,
        "device": engine.device,
        "threads": threads,
        "stopping": rules.to_dict(),
        "confidence": float(confidence),
    }


def _check_options(confidence: float, batch_draws: int | None) -> None:
    if not 0 < confidence < 1:
        raise UsageError(
            f"confidence is {confidence}; it must lie between 0 and 1.",
            why="it is the probability with which the interval covers the truth.",
            fix="for example confidence=0.95 (--confidence 0.95).",
        )
    if batch_draws is not None and batch_draws < 1:
        raise UsageError(
            f"batch_draws is {batch_draws}; it must be 1 or more.",
            why="so many draws are decided at a time.",
            fix="leave it out: it changes no result.",
        )


def _check_room(experiment: Experiment, rules: Rules) -> None:
    draws = rules.max_draws(experiment.ensemble.n_arrangements)
    left = experiment.last_draw - experiment.first_draw
    if draws is not None and draws > left:
        n = experiment.ensemble.n_arrangements
        raise UsageError(
            f"candidates is {rules.candidates}; the stream has {n * left} candidates.",
            why="indices are 64-bit names.",
            fix="ask for fewer, begin earlier (first_index, --first-index), or use another seed.",
        )
