"""What there is to compute with here, and whether all of it agrees with the law."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu import engines, exact, priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.base import BORDERLINE
from biasgpu.ensemble import Ensemble
from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.layers import Shape

DRAWS = 48
COMPILED_DRAWS = 9  # of them, whose logits the compiled law has to get right to the bit
SELF_TEST_S = 10.0
_FIRST_DRAWS = (0, 1, 2**32 - DRAWS // 2, 2**40)


@dataclass
class Check:
    """How one engine did.

    Attributes:
        engine: its name.
        device: where it computed.
        n_ensembles: random ensembles it was tried on.
        n_draws: draws it screened.
        n_borderline: draws it left to the law.
        disagreement: the first one found, in words; None if there is none.
        error: why it could not go on, if it could not.
    """

    engine: str
    device: str
    n_ensembles: int = 0
    n_draws: int = 0
    n_borderline: int = 0
    disagreement: str | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was tried, and agreed."""
        return self.n_draws > 0 and self.disagreement is None and self.error is None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "ok": self.ok}


def environment() -> dict[str, Any]:
    """Versions, processor, engines, devices and folders, as JSON-able values."""
    from biasgpu.results import provenance

    reasons = engines.available()
    return {
        **provenance.collect(),
        "engines": {name: reason or "available" for name, reason in reasons.items()},
        "devices": devices(),
        "folders": _folders(),
    }


def devices() -> dict[str, str]:
    """Device -> its name, for every device an engine can compute on; imports torch if installed."""
    found = {"cpu": "this machine's processor"}
    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            for number in range(torch.cuda.device_count()):
                found[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    return found


def self_test(
    time_s: float = SELF_TEST_S,
    *,
    seed: int | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Screen draws of random small ensembles with every engine here, and compare with the law.

    Args:
        time_s: about how long; every engine is tried on one ensemble at least.
        seed: of the choice of ensembles; None takes another one each time.
        on_check: called after each ensemble and engine.

    Returns:
        one `Check` for each engine and device, in the order of `engines.NAMES`.
    """
    rng = np.random.default_rng(seed)
    checks = [
        Check(name, device)
        for name, reason in engines.available().items()
        if reason is None and name != "reference"
        for device in _devices_of(name)
    ]
    # Compiling and loading are no part of the time.
    for check in checks:
        for ensemble, x, y in _warm_up():
            _try(replace(check), ensemble, x, y, 0, None)
    end = time.monotonic() + time_s
    going = list(checks)
    while going:
        ensemble, x, y = _random_ensemble(rng)
        first = int(rng.choice(_FIRST_DRAWS))
        truth = engines.make("reference", ensemble, x, y).screen(first, DRAWS)
        for check in list(going):
            _try(check, ensemble, x, y, first, truth)
            if on_check:
                on_check(check)
            if check.disagreement or check.error:
                going.remove(check)
        late = time.monotonic() >= end
        if late and (all(c.n_draws for c in going) or time.monotonic() >= end + 10 * time_s):
            break
    return checks


def _devices_of(engine: str) -> list[str]:
    if engine not in ("torch", "triton"):
        return ["cpu"]
    return [name for name in devices() if engine == "torch" or name != "cpu"]


def _try(
    check: Check,
    ensemble: Ensemble,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    first: int,
    truth: npt.NDArray[np.uint16] | None,
) -> None:
    try:
        engine = engines.make(check.engine, ensemble, x, y, device=check.device)
    except UsageError:
        return  # an ensemble this engine does not take
    except BiasgpuError as error:
        check.error = str(error)
        return
    try:
        found = engine.screen(first, DRAWS)
    except Exception as error:  # whatever it is, the doctor reports it
        check.error = f"{type(error).__name__}: {error}"
        return
    finally:
        engine.close()
    # The compiled law decides what is borderline; it must have the reference's bits.
    draws = np.arange(first, first + COMPILED_DRAWS, dtype=np.uint64)
    logits = exact.logits(ensemble, draws, x)
    if truth is None:
        return
    for draw, ours in zip(draws.tolist(), logits, strict=True):
        if not np.array_equal(ours, ensemble.logits(draw, x)):
            check.disagreement = (
                f"{ensemble.architecture} on inputs {ensemble.shape}, prior {ensemble.prior}, seed "
                f"{ensemble.seed}, draw {draw}: the compiled law's logits are not the reference's"
            )
            return
    sure = found != BORDERLINE
    check.n_ensembles += 1
    check.n_draws += DRAWS
    check.n_borderline += int((~sure).sum())
    wrong = np.flatnonzero(sure & (found != truth))
    if len(wrong):
        row = int(wrong[0])
        check.disagreement = (
            f"{ensemble.architecture} on inputs {ensemble.shape}, prior {ensemble.prior}, seed "
            f"{ensemble.seed}, draw {first + row}: prefix {found[row]}, by the law {truth[row]}"
        )


def _random_ensemble(
    rng: np.random.Generator,
) -> tuple[Ensemble, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    n_classes = int(rng.choice([2, 2, 3]))
    architecture, shape = _random_architecture(rng, n_classes)
    names = (
        "uniform",
        "uniform:0.2",
        "kaiming-uniform",
        "kaiming-normal",
        "normal:0.5",
        "uniform16",
    )
    prior = priors.make(str(rng.choice(names)))
    deferred = prior.family == "normal" and rng.random() < 0.7
    n_train = n_classes * int(rng.integers(1, 5))
    x = rng.standard_normal((n_train, *shape)).astype(np.float32)
    y = np.arange(n_train, dtype=np.int64) % n_classes
    seed = int(rng.integers(0, 2**63))
    if deferred:
        parts = (architecture, prior, shape, n_classes, seed, x, x[:0])
        return DeferredEnsemble(*parts), x, y
    return Ensemble(architecture, prior, shape, n_classes, seed), x, y


def _warm_up() -> list[tuple[Ensemble, npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """One ensemble for each method, so that everything is compiled."""
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)
    y = np.array([0, 1])
    shape, prior = x.shape[1:], priors.make("kaiming-normal")
    return [
        (Ensemble(lenet("1/6"), prior, shape, 2, 0), x, y),
        (DeferredEnsemble(mlp(20, 1), prior, shape, 2, 0, x, x[:0]), x, y),
        (DeferredEnsemble(lenet("1/6"), prior, shape, 2, 0, x, x[:0]), x, y),
    ]


def _random_architecture(rng: np.random.Generator, n_classes: int) -> tuple[Architecture, Shape]:
    bias = "prior" if rng.random() < 0.4 else "zero"
    head = "one-logit" if n_classes == 2 and rng.random() < 0.3 else "logits"
    kind = rng.choice(["mlp", "mlp", "lenet", "paper-mlp"])
    if kind == "lenet":
        depth = str(rng.choice(["2c-3f", "2c-1f", "1c-1f"]))
        return lenet("1/6", depth, head=head, bias=bias), (int(rng.integers(1, 3)), 16, 16)
    if kind == "paper-mlp":
        depth = int(rng.integers(1, 5))
        return paper_mlp("1/6", depth, head=head, bias=bias), (1, 8, 8)
    width, depth = int(rng.integers(1, 40)), int(rng.integers(0, 4))
    return mlp(width, depth, head=head, bias=bias), (int(rng.integers(1, 12)),)


def _folders() -> dict[str, str]:
    import os

    from biasgpu.data.locate import DATA_DIR_VARIABLE, cache_dir

    return {
        "cache": str(cache_dir()),
        DATA_DIR_VARIABLE: os.environ.get(DATA_DIR_VARIABLE, "not set"),
    }
