"""One session of a run: go on until a stopping rule is reached, and commit what is found."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from biasgpu import estimates
from biasgpu.errors import BiasgpuError
from biasgpu.experiment import Experiment
from biasgpu.fits import Fits
from biasgpu.outcome import INTERRUPTED, Outcome
from biasgpu.results import liveness
from biasgpu.sampling.events import (
    Committed,
    Event,
    Finished,
    Interrupted,
    Note,
    OnEvent,
    Progress,
    Started,
)
from biasgpu.sampling.interrupts import held_back
from biasgpu.sampling.parts import Source, Worker
from biasgpu.sampling.stopping import Rules
from biasgpu.sampling.totals import Speed, Totals

if TYPE_CHECKING:
    from biasgpu.results import StatusFile, Store
    from biasgpu.training.experiment import Training

Kind = TypeVar("Kind", bound=Outcome)
COMMIT_EVERY_S = 0.2
FAILED = "failed"


class Session(Generic[Kind]):
    """Goes on until a rule is reached.

    Args:
        experiment: what is sampled, or trained.
        kind: what comes of it: `Run` or `Trained`.
        source: the draws that earlier sessions left, up to the last that the rules allow.
        rules: when to stop, in totals over all sessions.
        engine: does the source's work; the caller closes it.
        totals: what earlier sessions decided.
        fits: the rows they found.
        provenance: of the run, this session's settings included.
        confidence: of the intervals.
        store: the results file, open; the caller closes it. None keeps results in memory only.
        status: the status file beside it.
        on_event: called with every event.
        started_s: `time.perf_counter()` when this session's work began.
    """

    def __init__(
        self,
        experiment: Experiment | Training,
        kind: type[Kind],
        source: Source,
        rules: Rules,
        engine: Worker,
        totals: Totals,
        fits: Fits,
        *,
        provenance: dict[str, Any],
        confidence: float,
        store: Store | None = None,
        status: StatusFile | None = None,
        on_event: OnEvent | None = None,
        started_s: float | None = None,
    ) -> None:
        self._experiment = experiment
        self._kind = kind
        self._source = source
        self._rules = rules
        self._engine = engine
        self._rows = [fits]
        # Totals and how many parts of `_rows` they cover, set in one assignment: an interruption
        # at any moment finds both before a batch or both after it.
        self._state = (totals, 1)
        self._n_committed = 1
        self._provenance = provenance
        self._confidence = confidence
        self._store = store
        self._status = status
        self._on_event = on_event
        self._speed = Speed(totals.elapsed_s, totals.next_draw)
        now_s = time.perf_counter()
        self._origin_s = (now_s if started_s is None else started_s) - totals.elapsed_s
        self._last_commit_s = now_s

    @property
    def totals(self) -> Totals:
        """What is decided so far."""
        return self._state[0]

    def run(self) -> Kind:
        """Go on until a rule is reached.

        Raises:
            KeyboardInterrupt: the user stopped it; what was decided is committed.
        """
        try:
            self._write_status("running", self._progress())
            self._emit(self._started())
            if self._engine.notice:
                self._emit(Note(self._engine.notice))
            self._prepare()
            reason = self._loop()
        except KeyboardInterrupt:
            with held_back():  # a second Ctrl-C must not cost the word on how to go on
                self._end(INTERRUPTED, complete=False)
                self._emit(Interrupted(self._result(INTERRUPTED, False), self._output))
            raise
        except BaseException:
            # The error itself is what the user must see, not one of saving what came before it.
            with contextlib.suppress(BiasgpuError):
                self._end(FAILED, complete=False)
            raise
        self._end(reason, complete=True)
        run = self._result(reason, True)
        self._emit(Finished(reason, run))
        return run

    def _prepare(self) -> None:
        # Compiling is no part of the work, nor is what came before the first draw of the speed.
        before_s = time.perf_counter()
        self._engine.begin()
        self._source.prepare()
        now_s = time.perf_counter()
        self._origin_s += now_s - before_s
        self._speed = Speed(now_s - self._origin_s, self.totals.next_draw)

    def _loop(self) -> str:
        n_counted = self._experiment.n_counted
        rules = self._rules
        while True:
            totals = self.totals
            reason = rules.reached(totals.n_fits, totals.n_draws, totals.elapsed_s, n_counted)
            if reason is None and self._source.done:
                reason = rules.counted  # every draw that has a name
            left_s = None if rules.time_s is None else rules.time_s - totals.elapsed_s
            if reason is None and left_s is not None and self._source.outlasts(left_s):
                # Known before these draws are looked at, so that what they are decides nothing.
                reason = "time"
            if reason is not None:
                return reason
            batch = self._source.step(
                fits_left=None if rules.fits is None else rules.fits - totals.n_fits,
                left_s=left_s,
            )
            now_s = time.perf_counter()
            self._rows.append(batch.fits)
            self._state = (totals.plus(batch, now_s - self._origin_s), len(self._rows))
            progress = self._progress()
            if now_s - self._last_commit_s >= COMMIT_EVERY_S:
                self._commit(progress)
            self._emit(progress)

    def _commit(self, progress: Progress) -> None:
        self._last_commit_s = time.perf_counter()
        if self._store is None:
            return
        with held_back():
            self._append()
            self._write_status("running", progress)
        self._emit(Committed(progress.n_candidates, progress.n_fits, self._store.n_rows))

    def _append(self) -> None:
        store, (totals, n_parts) = self._store, self._state
        if store is None or store.next_draw == totals.next_draw or not totals.n_draws:
            return
        # The first part is from earlier sessions; of it only the shape of a row is needed.
        shape = self._rows[0].take(slice(0, 0))
        rows = Fits.concatenate([shape, *self._rows[self._n_committed : n_parts]])
        store.append(
            rows.with_optional(store.optional),
            next_draw=totals.next_draw,
            prefix_counts=totals.prefix_counts,
            elapsed_s=totals.elapsed_s,
            counters=self._counters,
        )
        self._n_committed = n_parts

    def _end(self, reason: str, *, complete: bool) -> None:
        if self._store is None:
            return
        with held_back():
            try:
                self._append()
                self._store.finish(reason, complete=complete)
            finally:
                self._write_status("finished" if complete else reason, self._progress())

    def _result(self, reason: str, complete: bool) -> Kind:
        totals, n_parts = self._state
        return self._kind(
            experiment=self._experiment,
            n_draws=totals.n_draws,
            prefix_counts=totals.prefix_counts,
            fits=Fits.concatenate(self._rows[:n_parts]),
            stop_reason=reason,
            complete=complete,
            elapsed_s=totals.elapsed_s,
            counters=self._counters,
            provenance=self._provenance,
            confidence=self._confidence,
            output=self._output,
        )

    @property
    def _counters(self) -> dict[str, int]:
        return {name: getattr(self.totals, name) for name in self._kind.COUNTERS}

    @property
    def _output(self) -> Path | None:
        return None if self._store is None else self._store.path

    def _started(self) -> Started:
        totals, experiment, rules = self.totals, self._experiment, self._rules
        return Started(
            engine=self._engine.name,
            device=self._engine.device,
            seed=experiment.seed,
            n_train=experiment.task.n_train,
            n_arrangements=experiment.n_counted,
            n_candidates=experiment.n_counted * totals.n_draws,
            n_fits=totals.n_fits,
            elapsed_s=totals.elapsed_s,
            fits=rules.fits,
            candidates=rules.candidates,
            time_s=rules.time_s,
            output=self._output,
            counted=rules.counted,
        )

    def _progress(self) -> Progress:
        totals, n_counted = self.totals, self._experiment.n_counted
        found = estimates.estimate(
            totals.n_draws,
            totals.n_fits,
            stopped_by="user",
            n_arrangements=n_counted,
            confidence=self._confidence,
        )
        draws_per_s = self._speed(totals)
        return Progress(
            n_candidates=found.n_candidates,
            n_fits=found.n_fits,
            fit_probability=found.probability,
            fit_probability_interval=(found.low, found.high),
            minus_log2_fit_probability=found.minus_log2,
            candidates_per_s=None if draws_per_s is None else n_counted * draws_per_s,
            elapsed_s=totals.elapsed_s,
            remaining_s=self._rules.remaining_s(
                totals.n_fits, totals.n_draws, totals.elapsed_s, n_counted, draws_per_s
            ),
            n_borderline=totals.n_borderline,
            best_prefix=totals.best_prefix,
            counted=self._rules.counted,
        )

    def _write_status(self, state: str, progress: Progress) -> None:
        if self._status is None:
            return
        self._status.write(
            {
                "state": state,
                **liveness.signature(),
                "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "engine": self._engine.name,
                "device": self._engine.device,
                "n_train": self._experiment.task.n_train,
                "seed": self._experiment.seed,
                "output": str(self._output),
                "stopping": self._rules.to_dict(),
                **vars(progress),
            }
        )

    def _emit(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
