"""The events of a study, drawn on stderr."""

from __future__ import annotations

from typing import Any

from biasgpu.cli import output
from biasgpu.cli.parsing import format_duration
from biasgpu.cli.progress import Line
from biasgpu.cli.sampling_progress import progress_text


class StudyProgress(Line):
    """Draws what `biasgpu.compare` reports: files of all, and what goes on within one.

    Attributes:
        interrupted: the event of an interruption, once there was one.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self.interrupted: Any = None
        self._where = ""
        self._left = ""
        self._said: set[str] = set()

    def __call__(self, event: Any) -> None:
        """Draw an event; those that nobody waits for are left out."""
        from biasgpu.sampling import events as sampling
        from biasgpu.study import events

        match event:
            case events.StudyStarted():
                self._start(event)
            case events.JobStarted():
                self._where = f"[{event.place} of {event.n_jobs}] {event.job}"
                self._left = ""
                if event.remaining_s is not None:
                    self._left = f" | all: {format_duration(event.remaining_s)} left"
                self.show(self._where + self._left)
            case events.JobEnded() if event.problem:
                self.note(f"Problem: {event.job}: {event.problem}")
            case events.StudyInterrupted():
                self.interrupted = event
                self._say_how_to_go_on(event)
            case sampling.Progress():
                self.show(f"{self._where} | {progress_text(event)}{self._left}")
            case sampling.Note() if event.text not in self._said:
                self._said.add(event.text)  # each file would say it again
                self.note(f"Note: {event.text}")

    def _start(self, event: Any) -> None:
        study = event.study
        self.note(
            f"{study.task_name}, n_train {study.n_train}; {len(study.architectures)} "
            f"architectures, {len(study.data_seeds)} data seeds; {event.n_jobs} files in "
            f"{event.folder}, {event.n_done} of them complete. Ctrl-C stops and keeps all."
        )

    def _say_how_to_go_on(self, event: Any) -> None:
        # Said at once, while the signals are held back, and even if it is to be quiet.
        self.end()
        output.note(f"Interrupted: {event.n_done} of {event.n_jobs} files are complete.")
        output.note(f"To go on: biasgpu compare --resume {event.folder}")
