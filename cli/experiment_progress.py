"""The events of an experiment, and those of its studies, drawn on stderr."""

from __future__ import annotations

from typing import Any

from biasgpu.cli import output
from biasgpu.cli.experiment_output import plan_lines
from biasgpu.cli.study_progress import StudyProgress


class ExperimentProgress(StudyProgress):
    """Draws what `biasgpu.reproduce` reports.

    Args:
        quiet: show nothing.
        announces: show the plan before it is carried out.

    Attributes:
        stopped: the event of an interruption, once there was one.
    """

    def __init__(self, *, quiet: bool, announces: bool) -> None:
        super().__init__(quiet=quiet)
        self._announces = announces
        self.stopped: Any = None

    def __call__(self, event: Any) -> None:
        """Draw an event."""
        from biasgpu.experiments import events

        match event:
            case events.Probing():
                self.show(f"measuring how long {event.n_files} files will take ...")
            case events.Planned() if self._announces:
                for line in plan_lines(event):
                    self.note(line)
            case events.PartFailed():
                self.note(f"Problem: {event.part}: {event.problem}")
            case events.Drawing():
                self.show("drawing figures, writing the report ...")
            case events.Stopped():
                self.stopped = event
                self.end()
                output.note(f"To go on: biasgpu run {event.folder}")
            case _:
                super().__call__(event)

    def _start(self, event: Any) -> None:
        if event.n_done < event.n_jobs:
            super()._start(event)

    def _say_how_to_go_on(self, event: Any) -> None:
        self.end()
        output.note(f"Interrupted: {event.n_done} of {event.n_jobs} files are complete.")
