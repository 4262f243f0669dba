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
from biasgpu.results import StatusFile, Store, read_config
from biasgpu.run import Run
from biasgpu.sampling import resumption
from biasgpu.sampling.arguments import about_session, check_options, check_room, end_draw
from biasgpu.sampling.events import Note, OnEvent
from biasgpu.sampling.sampler import Sampler
from biasgpu.sampling.session import Session
from biasgpu.sampling.stopping import Rules, TrainingRules
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
    measures: bool = False,
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
        measures: with every row keep what measures need: training logits, Lipschitz constant,
            norms of the weights.
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
    check_options(confidence, batch_draws)
    experiment = experiments.make(
        task,
        architecture,
        prior,
        seed=seed,
        first_index=first_index,
        curve_fits=curve_fits,
        keep_predictions=keep_predictions,
        method=method,
        measures=measures,
    )
    check_room(experiment, rules)
    for note in (architecture.note, experiment.note):
        if note and on_event is not None:
            on_event(Note(note))
    started_s = time.perf_counter()
    screener = _make_engine(experiment, engine, device, threads)
    store = None
    try:
        about = about_session(screener, threads, rules, confidence)
        if output is not None:
            store = Store.create(
                output,
                experiment.to_config(),
                task,
                provenance=about,
                overwrite=overwrite,
                keep_predictions=keep_predictions,
                optional=experiment.row_shapes,
            )
        first = experiment.first_draw
        totals = Totals(first, first, np.zeros(task.n_train + 1, np.int64))
        session = Session(
            experiment,
            Run,
            _source(experiment, screener, rules, totals, threads, batch_draws),
            rules,
            screener,
            totals,
            Fits.empty(task.n_classes, task.n_test, keep_predictions, experiment.row_shapes),
            provenance=about,
            confidence=confidence,
            store=store,
            status=None if output is None else StatusFile(output),
            on_event=on_event,
            started_s=started_s,
        )
        return session.run()
    except BaseException:
        screener.abandon()
        raise
    finally:
        screener.close()
        if store is not None:
            store.close()


def resume(
    path: str | os.PathLike[str],
    *,
    fits: int | None = None,
    candidates: int | None = None,
    networks: int | None = None,
    time_s: float | None = None,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    on_event: OnEvent | None = None,
    confidence: float | None = None,
    batch_draws: int | None = None,
) -> Any:
    """Go on with a run exactly where it stopped; the result is that of an uninterrupted one.

    A run that has reached its stopping rules is returned as it is.

    Args:
        path: its results file.
        fits, candidates, time_s: new stopping rules, in totals over all sessions; they replace the
            stored ones, which are kept if none is given.
        networks: the rule of training in place of `candidates`.
        engine, device, threads: as for `sample`; they need not be those of the first session.
            Training goes on with the engine that it began with, unless another one is named.
        on_event: called with every event of `biasgpu.sampling.events`.
        confidence: of the intervals; None takes the stored one.
        batch_draws: as for `sample`; of training its `batch_networks`.

    Returns:
        a `Run`, or `Trained`, whichever the file holds.

    Raises:
        UsageError: arguments that cannot be.
        RefusedError: another process is writing the file, or stored fits are not what they are
            rebuilt as.
        DamagedFileError: damaged or foreign.
        KeyboardInterrupt: as `sample`.
    """
    trained = "kind" in read_config(path)
    wrong, right = ("candidates", "networks") if trained else ("networks", "candidates")
    if (candidates if trained else networks) is not None:
        raise UsageError(
            f"{wrong} does not go with {os.fspath(path)}.",
            why=f"it holds networks that were {'trained' if trained else 'drawn'}.",
            fix=f"give {right}=... (--{right}) instead.",
        )
    if trained:
        from biasgpu.training.resumption import resume as resume_training

        return resume_training(
            path,
            TrainingRules(fits, networks, time_s),
            engine=engine,
            device=device,
            threads=threads,
            on_event=on_event,
            confidence=confidence,
            batch_networks=batch_draws,
        )
    given = Rules(fits, candidates, time_s)
    check_options(0.95 if confidence is None else confidence, batch_draws)
    emit = on_event or (lambda event: None)
    found = resumption.look(path, given, confidence=confidence)
    if found.nothing_to_do:
        emit(Note(found.nothing_to_do))
        return found.run
    check_room(found.run.experiment, found.rules)
    screener = _make_engine(found.run.experiment, engine, device, threads)
    store = None
    try:
        if screener.notice:
            emit(Note(screener.notice))
        screener.begin()  # what is stored is rebuilt before the session begins
        started_s = time.perf_counter()
        about = about_session(screener, threads, found.rules, found.run.confidence)
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
        totals = Totals(
            first, first + run.n_draws, run.prefix_counts, run.n_borderline, run.elapsed_s
        )
        session = Session(
            run.experiment,
            Run,
            _source(run.experiment, screener, found.rules, totals, threads, batch_draws),
            found.rules,
            screener,
            totals,
            run.fits,
            provenance=history,
            confidence=run.confidence,
            store=store,
            status=StatusFile(path),
            on_event=on_event,
            started_s=started_s,
        )
        return session.run()
    except BaseException:
        screener.abandon()
        raise
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


def _source(
    experiment: Experiment,
    engine: engines.Engine,
    rules: Rules,
    totals: Totals,
    threads: int | None,
    batch_draws: int | None,
) -> Sampler:
    return Sampler(
        experiment,
        engine,
        next_draw=totals.next_draw,
        end_draw=end_draw(experiment, rules),
        prefix_counts=totals.prefix_counts,
        threads=threads,
        batch_draws=batch_draws,
    )
