"""`train`: networks from their initialisations to zero training error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import cast, get_args

import numpy as np

from biasgpu import priors
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError, unknown
from biasgpu.experiment import check_parts
from biasgpu.fits import Fits
from biasgpu.priors import Prior
from biasgpu.results import StatusFile, Store
from biasgpu.sampling.arguments import about_session, check_options, check_room, end_draw
from biasgpu.sampling.events import Note, OnEvent
from biasgpu.sampling.session import Session
from biasgpu.sampling.stopping import TrainingRules
from biasgpu.sampling.totals import Totals
from biasgpu.task import Task
from biasgpu.training import trainers
from biasgpu.training.experiment import Training
from biasgpu.training.recipe import (
    SEARCHES,
    Optimizer,
    Recipe,
    published_batch_size,
    published_learning_rate,
)
from biasgpu.training.source import TrainingSource
from biasgpu.training.trained import Trained
from biasgpu.training.trainers.base import Trainer

FULL_BATCH = "gd"
OPTIMIZERS = (*get_args(Optimizer), FULL_BATCH)


def train(
    task: Task,
    architecture: Architecture,
    init: str | Prior = "kaiming-uniform",
    *,
    networks: int | None = None,
    fits: int | None = None,
    time_s: float | None = None,
    optimizer: str = "sgd",
    learning_rate: float | None = None,
    batch_size: int | None = None,
    epochs: int = 60,
    keep_epochs: Iterable[int] = (),
    stop_early: bool = False,
    proposals: int | None = None,
    tries: int | None = None,
    seed: int = 0,
    first_index: int = 0,
    gradient_norms: bool = False,
    measures: bool = False,
    keep_weights: bool = True,
    keep_predictions: bool = False,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
    confidence: float = 0.95,
    batch_networks: int | None = None,
) -> Trained:
    """Train networks and keep those that end without training error.

    Each begins as a named draw from `init`, all see the training samples in the same order. Which
    networks come out depends on task, architecture, init, recipe, seed and `first_index`, and, by
    rounding alone, on the engine. See docs/training.md.

    Args:
        task: what the networks are trained on.
        architecture: their layers: `biasgpu.lenet(width="2/6")`.
        init: the distribution of their weights before training, by name or as a `Prior`.
        networks: stop after so many networks, with success or without.
        fits: stop at the network that brings so many successes.
        time_s: stop after so many seconds. Whichever rule comes first; one at least is needed.
        optimizer: "sgd", "momentum" or "adam"; "gd" for plain steps on the full batch;
            "pattern-search" or "greedy-random", which take no gradient.
        learning_rate: the step; None takes the published one for `init` and the data; of a search
            the step it begins with, None for 1.
        batch_size: samples a step; None takes the published min(2, N / 2).
        epochs: passes over the training set; of a search, rounds of `proposals`.
        keep_epochs: epochs after which the weights are kept besides the last.
        stop_early: a network stops after the first epoch that it ends without training error.
        proposals: of an epoch of a search; None takes 100.
        tries: proposals in a row that a search does not keep before it halves its step; None takes
            100.
        seed: 64-bit seed of initialisations and orders.
        first_index: the network to begin with, arrangement 0 of its draw.
        gradient_norms: keep the norm of the gradient at every epoch.
        measures: keep what measures need: training logits, Lipschitz constant, norms.
        keep_weights: keep the weights in the results file; in memory they are in any case.
        keep_predictions: keep the predicted class of every test sample.
        engine: "auto", "cpu", "torch", "triton" or "reference".
        device: "cpu", "cuda", "cuda:1"; None lets the engine choose.
        threads: CPU threads; None takes all.
        output: a results file to make; see `docs/file-format.md`. None keeps results in memory.
        overwrite: replace an existing file, which is kept as `<output>.bak`.
        on_event: called with every event of `biasgpu.sampling.events`; their candidates are the
            networks trained.
        confidence: of the intervals.
        batch_networks: networks trained at a time; None adapts them. Changes no result.

    Raises:
        UsageError: arguments that cannot be, or no stopping rule.
        RefusedError: `output` exists, or another process is writing it.
        ResourceError: no such device, or a full disk.
        KeyboardInterrupt: on Ctrl-C, after what was trained is committed; the event `Interrupted`
            carries the result so far.

    Example:
        trained = biasgpu.train(task, biasgpu.lenet(width="2/6"), networks=500)
        trained.success_rate, trained.test_accuracy.mean(), trained[0].module()
    """
    rules = TrainingRules(fits, networks, time_s).require()
    check_options(confidence, batch_networks)
    check_parts(task, architecture)
    init = priors.make(init)
    recipe = make_recipe(
        task,
        init,
        optimizer=optimizer,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        keep_epochs=keep_epochs,
        stop_early=stop_early,
        proposals=proposals,
        tries=tries,
    )
    training = Training(
        task,
        architecture,
        init,
        recipe,
        int(seed) if isinstance(seed, np.integer) else seed,
        keep_predictions=keep_predictions,
        gradient_norms=gradient_norms,
        measures=measures,
        keep_weights=keep_weights,
    ).starting(first_index)
    check_room(training, rules)
    if architecture.note and on_event is not None:
        on_event(Note(architecture.note))
    started_s = time.perf_counter()
    trainer = make_trainer(training, engine, device, threads)
    store = None
    try:
        about = about_session(trainer, threads, rules, confidence)
        if output is not None:
            store = Store.create(
                output,
                training.to_config(),
                task,
                provenance=about,
                overwrite=overwrite,
                keep_predictions=keep_predictions,
                optional=training.row_shapes,
            )
        first = training.first_draw
        totals = Totals(first, first, np.zeros(task.n_train + 1, np.int64))
        source = make_source(training, trainer, rules, totals, True, threads, batch_networks)
        shapes = training.row_shapes | training.weights_shape
        session = Session(
            training,
            Trained,
            source,
            rules,
            trainer,
            totals,
            Fits.empty(task.n_classes, task.n_test, keep_predictions, shapes),
            provenance=about,
            confidence=confidence,
            store=store,
            status=None if output is None else StatusFile(output),
            on_event=on_event,
            started_s=started_s,
        )
        return session.run()
    finally:
        trainer.close()
        if store is not None:
            store.close()


def make_recipe(
    task: Task,
    init: Prior,
    *,
    optimizer: str = "sgd",
    learning_rate: float | None = None,
    batch_size: int | None = None,
    epochs: int = 60,
    keep_epochs: Iterable[int] = (),
    stop_early: bool = False,
    proposals: int | None = None,
    tries: int | None = None,
) -> Recipe:
    """The recipe that the arguments of `train` describe.

    Raises:
        UsageError: arguments that cannot be.
    """
    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", str(optimizer), OPTIMIZERS)
    full = optimizer == FULL_BATCH or optimizer in SEARCHES
    if full and batch_size not in (None, task.n_train):
        raise UsageError(
            f"batch_size is {batch_size} with optimizer {optimizer!r}.",
            why="gradient descent takes its steps on the full batch."
            if optimizer == FULL_BATCH
            else "a search looks at the loss over the whole training set.",
            fix="leave batch_size out (--batch-size), or take optimizer='sgd' (--optimizer sgd).",
        )
    if batch_size is None:
        batch_size = task.n_train if full else published_batch_size(task.n_train)
    return Recipe(
        optimizer=cast(Optimizer, "sgd" if optimizer == FULL_BATCH else optimizer),
        learning_rate=(
            published_learning_rate(init.name, task.name, optimizer)
            if learning_rate is None
            else learning_rate
        ),
        batch_size=batch_size,
        epochs=epochs,
        keep_epochs=tuple(keep_epochs),
        stop_early=stop_early,
        proposals=proposals,
        tries=tries,
    )


def make_trainer(training: Training, name: str, device: str | None, threads: int | None) -> Trainer:
    """The trainer of that name for a training stream."""
    task = training.task
    return trainers.make(
        name,
        training.ensemble,
        task.x_train,
        task.y_train,
        training.recipe,
        gradient_norms=training.gradient_norms,
        device=device,
        threads=threads,
    )


def make_source(
    training: Training,
    trainer: Trainer,
    rules: TrainingRules,
    totals: Totals,
    weights: bool,
    threads: int | None,
    batch_networks: int | None,
) -> TrainingSource:
    """The source of a session that goes on from some totals."""
    return TrainingSource(
        training,
        trainer,
        next_draw=totals.next_draw,
        end_draw=end_draw(training, rules),
        weights=weights,
        threads=threads,
        batch_networks=batch_networks,
    )
