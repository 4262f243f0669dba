"""Several engines as one, each on draws of its own: the GPUs of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from biasgpu.engines.base import Engine, Prefixes
from biasgpu.engines.screened import JoinedScreened


class SplitEngine(Engine):
    """Shares out every range of draws, in parts that follow each other. See `Engine`.

    Args:
        engines: two or more, for the same ensemble and training set, on devices of their own.
    """

    name: ClassVar[str] = "triton"

    def __init__(self, engines: Sequence[Engine]) -> None:
        first = engines[0]
        super().__init__(first.ensemble, first.x_train, first.y_train)
        self.name = first.name  # pyright: ignore[reportAttributeAccessIssue]
        self.engines = tuple(engines)
        self.device = ",".join(engine.device for engine in engines)
        self._pool = ThreadPoolExecutor(len(engines), "biasgpu-device")

    def screen(self, first_draw: int, n_draws: int) -> Prefixes:
        """See `Engine.screen`."""
        return self.screened(first_draw, n_draws).prefixes()

    def screened(self, first_draw: int, n_draws: int) -> JoinedScreened:
        """See `Engine.screened`."""
        ends = [n_draws * (i + 1) // len(self.engines) for i in range(len(self.engines))]
        starts = [0, *ends[:-1]]
        futures = [
            self._pool.submit(engine.screened, first_draw + start, end - start)
            for engine, start, end in zip(self.engines, starts, ends, strict=True)
            if end > start
        ]
        return JoinedScreened([future.result() for future in futures], len(self.y_train))

    def prepare(self) -> None:
        """See `Engine.prepare`: one after the other, so that each kernel is compiled once."""
        for engine in self.engines:
            engine.prepare()

    @property
    def notice(self) -> str:
        """What each has to say, once."""
        return "; ".join(dict.fromkeys(e.notice for e in self.engines if e.notice))

    @property
    def granularity(self) -> int:
        """See `Engine.granularity`."""
        return sum(engine.granularity for engine in self.engines)

    @property
    def minimum(self) -> int:
        """See `Engine.minimum`."""
        return sum(engine.minimum for engine in self.engines)

    @property
    def maximum(self) -> int:
        """See `Engine.maximum`."""
        return sum(engine.maximum for engine in self.engines)

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown()
        for engine in self.engines:
            engine.close()
