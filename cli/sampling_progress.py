"""Sampling events, drawn on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biasgpu.cli import output
from biasgpu.cli.parsing import format_count, format_duration
from biasgpu.cli.progress import Line

if TYPE_CHECKING:
    from biasgpu.sampling.events import Event, Interrupted, Progress, Started


class SamplingProgress(Line):
    """Draws what `biasgpu.sample` and `biasgpu.train` report.

    Args:
        quiet: show nothing.
        command: the command that goes on with a file.

    Attributes:
        heading: lines to show when sampling begins, after everything is checked.
        interrupted: the event of an interruption, once there was one.
    """

    def __init__(self, *, quiet: bool, command: str = "biasgpu sample") -> None:
        super().__init__(quiet=quiet)
        self._command = command
        self.heading: list[str] = []
        self.interrupted: Interrupted | None = None

    def __call__(self, event: Event) -> None:
        """Draw an event; those that nobody waits for are left out."""
        from biasgpu.sampling import events

        match event:
            case events.Started():
                for line in self.heading:
                    self.note(line)
                if event.n_candidates:
                    self.note(f"Going on after {format_count(event.n_candidates)} {event.counted}.")
                self.note(
                    f"Until {_until(event)}. Ctrl-C stops and keeps all. "
                    f"Engine {event.engine} on {event.device}."
                )
                if event.output is not None:
                    self.note(f"Writing {event.output}")
            case events.Progress():
                self.show(progress_text(event))
            case events.Note():
                self.note(f"Note: {event.text}")
            case events.Interrupted():
                self.interrupted = event
                self._say_how_to_go_on(event)

    def _say_how_to_go_on(self, event: Interrupted) -> None:
        # Said at once, while the signals are held back, and even if it is to be quiet.
        self.end()
        output.note(f"Interrupted after {event.run.n_fits:,} fits.")
        if event.output is not None:
            path = event.output
            output.note(f"They are in {path}. To go on: {self._command} --resume {path}")


def _until(rules: Started) -> str:
    parts = []
    if rules.fits is not None:
        parts.append(f"{rules.fits:,} fits")
    if rules.candidates is not None:
        parts.append(f"{format_count(rules.candidates)} {rules.counted}")
    if rules.time_s is not None:
        parts.append(format_duration(rules.time_s))
    return " or ".join(parts)


def progress_text(now: Progress) -> str:
    """One line: time, time left, candidates (or networks) a second, fits, share with interval."""
    parts = [format_duration(now.elapsed_s)]
    if now.remaining_s is not None:
        parts.append(f"{format_duration(now.remaining_s)} left")
    parts.append(f"{format_count(now.n_candidates)} {now.counted}")
    if now.candidates_per_s is not None:
        parts.append(f"{format_count(now.candidates_per_s)}/s")
    parts.append(f"{now.n_fits:,} fits")
    low, high = now.fit_probability_interval
    if now.counted == "networks":
        if now.fit_probability is not None:
            parts.append(f"{now.fit_probability:.1%} succeed ({low:.1%} to {high:.1%})")
    elif now.fit_probability:
        parts.append(f"P {now.fit_probability:.3g} ({low:.3g} to {high:.3g})")
    elif now.n_candidates:
        parts.append(f"P below {high:.3g}, best prefix {now.best_prefix}")
    return " | ".join(parts)
