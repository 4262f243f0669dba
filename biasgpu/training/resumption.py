"""Going on with training where it stopped, once what is stored has been looked at again."""

from __future__ import annotations

import os
import random
import time

import numpy as np

from biasgpu.errors import RefusedError
from biasgpu.fits import Fits
from biasgpu.results import StatusFile, Store
from biasgpu.sampling import resumption
from biasgpu.sampling.arguments import about_session, check_options, check_room
from biasgpu.sampling.events import Note, OnEvent
from biasgpu.sampling.session import Session
from biasgpu.sampling.stopping import TrainingRules
from biasgpu.sampling.totals import Totals
from biasgpu.training.api import make_source, make_trainer
from biasgpu.training.judge import judge, rows_of
from biasgpu.training.trained import Trained
from biasgpu.training.trainers.base import Trainer, Trajectories

_SAME = ("versions", "cpu", "device")  # where all are the same, training gives the same bits


def resume(
    path: str | os.PathLike[str],
    given: TrainingRules,
    *,
    engine: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    on_event: OnEvent | None = None,
    confidence: float | None = None,
    batch_networks: int | None = None,
) -> Trained:
    """Go on with training exactly where it stopped; see `biasgpu.resume`.

    Args:
        path: a results file of trained networks.
        given: new stopping rules; if empty, the stored ones are taken.
        engine: "auto" is the one that trained last: another one rounds differently.
        device, threads, on_event, confidence, batch_networks: as for `biasgpu.train`.

    Raises:
        UsageError, RefusedError, DamagedFileError, KeyboardInterrupt: as `biasgpu.resume`.
    """
    check_options(0.95 if confidence is None else confidence, batch_networks)
    emit = on_event or (lambda event: None)
    found = resumption.look(path, given, confidence=confidence)
    if found.nothing_to_do:
        emit(Note(found.nothing_to_do))
        return found.run
    trained = found.run
    check_room(trained.experiment, found.rules)
    if engine == "auto" and trained.engine:
        engine = trained.engine
        if device is None:
            device = str(trained.device)
    trainer = make_trainer(trained.experiment, engine, device, threads)
    store = None
    try:
        if trainer.notice:
            emit(Note(trainer.notice))
        trainer.prepare()  # what is stored is trained again before the session begins
        started_s = time.perf_counter()
        about = about_session(trainer, threads, found.rules, trained.confidence)
        store = Store.reopen(path, provenance=about)
        # Another process may have gone on with it until the file was ours alone.
        found = resumption.look(path, given, confidence=confidence)
        if found.nothing_to_do:
            emit(Note(found.nothing_to_do))
            return found.run
        trained = found.run
        note = check_stored(trained, trainer, about, threads=threads)
        if note:
            emit(Note(note))
        first = trained.experiment.first_draw
        totals = Totals(
            first,
            first + trained.n_draws,
            trained.prefix_counts,
            elapsed_s=trained.elapsed_s,
            n_diverged=trained.n_diverged,
        )
        weights = trained.fits.weights is not None  # those of earlier sessions have none otherwise
        history = dict(trained.provenance)
        history["resumed"] = [*history.get("resumed", []), about]
        session = Session(
            trained.experiment,
            Trained,
            make_source(
                trained.experiment, trainer, found.rules, totals, weights, threads, batch_networks
            ),
            found.rules,
            trainer,
            totals,
            trained.fits,
            provenance=history,
            confidence=trained.confidence,
            store=store,
            status=StatusFile(path),
            on_event=on_event,
            started_s=started_s,
        )
        return session.run()
    finally:
        trainer.close()
        if store is not None:
            store.close()


def check_stored(
    trained: Trained, trainer: Trainer, about: dict[str, object], *, threads: int | None = None
) -> str:
    """Look at two stored rows again: decide their weights by the law, and train them anew.

    Args:
        trained: as it was stored.
        trainer: of the session that goes on.
        about: the provenance of that session.
        threads: CPU threads; None takes all.

    Returns:
        what the user should know of what cannot be held against each other; "" if nothing.

    Raises:
        RefusedError: they are not what is stored, to the bit.
    """
    if not len(trained.fits):
        return ""
    # Which one is taken decides nothing but what is checked.
    places = np.unique([0, random.randrange(len(trained.fits))])
    stored, experiment = trained.fits.take(places), trained.experiment
    if stored.weights is not None:
        assert stored.epochs is not None
        kept = Trajectories(stored.weights, stored.epochs, stored.gradient_norm)
        _compare(trained, stored, _rows(trained, stored, kept, threads))
    last = trained.last_session
    if trainer.name != last.get("engine"):
        return (
            f"the networks in the file were trained by engine {last.get('engine')}, those to come "
            f"by {trainer.name}: the same steps, rounded differently."
        )
    draws = stored.index // np.uint64(experiment.ensemble.n_arrangements)
    again = _rows(trained, stored, trainer.train(draws), threads)
    try:
        _compare(trained, stored, again)
    except RefusedError:
        if not trainer.same_bits:
            return (
                "trained again among fewer networks, a stored one comes out with other bits: the "
                f"{trainer.name} engine rounds by how many there are. What is stored stays."
            )
        if all(about.get(name) == last.get(name) for name in _SAME):
            raise
        return (
            "trained again, a stored network comes out with other bits: its session ran with other "
            "versions or on another machine. What is stored stays as it is."
        )
    return ""


def _rows(trained: Trained, stored: Fits, kept: Trajectories, threads: int | None) -> Fits:
    experiment = trained.experiment
    judged = judge(experiment, kept.weights[:, -1], threads=threads)
    draws = stored.index // np.uint64(experiment.ensemble.n_arrangements)
    return rows_of(experiment, draws, kept, judged, weights=True, threads=threads)


def _compare(trained: Trained, stored: Fits, rebuilt: Fits) -> None:
    for name in (*resumption.COLUMNS, "epochs", "gradient_norm", "weights"):
        old, new = getattr(stored, name), getattr(rebuilt, name)
        if old is None or new is None:
            continue
        same = ((old == new) | ((old != old) & (new != new))).reshape(len(old), -1).all(axis=1)
        if not same.all():
            index = stored.index[int(np.argmin(same))]
            raise RefusedError(
                f"{trained.output}: the network with index {index} is not what it is trained as: "
                f"its {name} differs.",
                why="training goes on only where what is stored can be had again to the bit; the "
                "file was changed, or this version or machine computes something else.",
                fix="see biasgpu verify for what differs, and train to a new file (-o other.h5, "
                "output=...).",
            )
