"""Progress on stderr: one live line on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from biasgpu.cli import output

if TYPE_CHECKING:
    from rich.live import Live

EVERY_S = 30.0


class Line:
    """A line that is shown while something goes on.

    On a terminal it is rewritten in place, and gone at the end. Where there is none, the first is
    written at once and then one every 30 s.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._next = -float("inf")

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.live import Live

            # Wrapped, not cut, where the terminal is narrow.
            console = output.stderr(soft_wrap=False)
            self._live = Live(console=console, transient=True, refresh_per_second=8)
            self._live.start()
        return self

    def show(self, text: str) -> None:
        """Show `text` in place of what was shown before."""
        if self._quiet:
            return
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text))
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            output.note(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(text)
        else:
            output.note(text)

    def end(self) -> None:
        """Take the line away; harmless when repeated."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


class Counter(Line):
    """So many of so many.

    Args:
        what: what is being done.
        total: how many there are.
        quiet: show nothing.
    """

    def __init__(self, what: str, total: int, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._what, self._total = what, total

    def update(self, done: int) -> None:
        """So many are done."""
        self.show(f"{self._what}: {done:,} of {self._total:,}")
