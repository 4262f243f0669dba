"""An experiment: all that decides which fits a stream of candidates holds, checked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from biasgpu import methods, priors
from biasgpu.architectures import Architecture
from biasgpu.curve import curve_points
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.engines.base import MAX_TRAIN
from biasgpu.ensemble import Ensemble
from biasgpu.errors import DamagedFileError, UsageError
from biasgpu.layout import Step, coupled
from biasgpu.possible import check_task
from biasgpu.priors import Prior
from biasgpu.task import Task

SLOW_PRODUCTS = 2e10  # of the law for one network: about a second


@dataclass(frozen=True, eq=False)
class Experiment:
    """Task, architecture, prior and seed, and which rows are kept.

    Args:
        task: what the networks must fit.
        architecture: their layers.
        prior: the distribution of their weights.
        seed: 64-bit seed of the stream.
        first_draw: where the stream begins.
        curve_fits: fits kept at each N of the curve below n_train.
        keep_predictions: keep the predicted class of every test sample with every row.
        method: "direct" or "deferred": how names become networks.
        measures: keep what measures need with every row (`biasgpu.measures.columns`).

    Raises:
        UsageError: parts that do not fit together, or numbers out of range.
        ImpossibleTaskError: no network of this architecture can fit the task.
    """

    task: Task
    architecture: Architecture
    prior: Prior
    seed: int
    first_draw: int = 0
    curve_fits: int = 100
    keep_predictions: bool = False
    method: str = "direct"
    measures: bool = False

    def __post_init__(self) -> None:
        check_parts(self.task, self.architecture)
        curve_fits = self.curve_fits
        if isinstance(curve_fits, bool) or not isinstance(curve_fits, int) or curve_fits < 0:
            raise UsageError(
                f"curve_fits is {curve_fits!r}; it must be a whole number of 0 or more.",
                why="so many networks are kept at every smaller N of the curve.",
                fix="for example curve_fits=100 (--curve-fits 100).",
            )
        if self.task.n_train > MAX_TRAIN:
            raise UsageError(
                f"n_train is {self.task.n_train}.",
                why=f"a prefix counts up to {MAX_TRAIN} training samples.",
                fix=f"use n_train <= {MAX_TRAIN} (--n-train).",
            )
        ensemble = self.ensemble
        if not 0 <= self.first_draw < self.last_draw:
            raise UsageError(
                f"the stream cannot begin at draw {self.first_draw}.",
                why=f"draws have the numbers 0 to {self.last_draw - 1}.",
                fix="begin earlier: first_index=0 (--first-index 0).",
            )
        _ = self.points
        check_task(self.task, ensemble)
        if self.measures and isinstance(ensemble, DeferredEnsemble):
            ensemble.check_size()  # norms and Lipschitz constants are those of whole networks

    @cached_property
    def ensemble(self) -> Ensemble:
        """All networks of the experiment."""
        return methods.ensemble(self.method, self.task, self.architecture, self.prior, self.seed)

    @cached_property
    def points(self) -> tuple[int, ...]:
        """The N of the curve."""
        task, steps = self.task, self.ensemble.steps
        return curve_points(task.y_train, task.n_classes, coupled=coupled(steps))

    @property
    def n_counted(self) -> int:
        """Candidates that a draw counts as."""
        return self.ensemble.n_arrangements

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The optional columns of its rows, and the shape of a row of each."""
        return measured_shapes(self.task, self.ensemble.steps) if self.measures else {}

    @property
    def last_draw(self) -> int:
        """The end of the draws that have names and can be counted."""
        return min(self.ensemble.max_draws, 2**64 - 1)

    @property
    def note(self) -> str:
        """What a user should know before sampling, where it takes long to measure a network."""
        task = self.task
        products = self.ensemble.products(task.n_train + task.n_test)
        if products < SLOW_PRODUCTS or not self.curve_fits or len(self.points) == 1:
            return ""
        return (
            f"measuring a network on {task.n_test} test samples takes some {products:.0e} "
            f"multiplications, and up to {self.curve_fits} networks that fit fewer samples are "
            "measured for each N of the curve. To leave these out: curve_fits=0 (--curve-fits 0)."
        )

    def draw_of(self, index: int) -> int:
        """The draw that the stream begins with, for the index of its first candidate.

        Raises:
            UsageError: not the first candidate of a draw, or no name of this ensemble.
        """
        draw, arrangement = self.ensemble.split(index)
        if arrangement:
            n = self.ensemble.n_arrangements
            raise UsageError(
                f"first_index is {index}; a stream begins with a whole draw.",
                why=f"a draw is {n} candidates here, so first_index must be a multiple of {n}.",
                fix=f"first_index={n * draw} or {n * (draw + 1)} (--first-index).",
            )
        return draw

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description; with the task, `from_config` rebuilds the experiment."""
        task = self.task
        return {
            "method": self.method,
            "task": {
                "name": task.name,
                "classes": list(task.class_names),
                "n_train": task.n_train,
                "checksum": task.checksum,
            },
            "architecture": self.architecture.to_config(),
            "prior": self.prior.to_config(),
            "seed": int(self.seed),
            "first_draw": int(self.first_draw),
            "curve_fits": self.curve_fits,
            "keep_predictions": bool(self.keep_predictions),
            # Absent where there are none, as in the files of older versions.
            **({"measures": True} if self.measures else {}),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], task: Task) -> Experiment:
        """The experiment that `to_config` described.

        Args:
            config: from a results file.
            task: from the same file.

        Raises:
            DamagedFileError: the configuration is incomplete, or not of this task.
            UsageError: a prior, layer or method that is not known here.
        """
        try:
            method = str(config["method"])
            if method not in methods.NAMES:
                raise UsageError(
                    f"the file holds a run by method {method!r}.",
                    why=f"this biasgpu knows the methods {', '.join(methods.NAMES)}.",
                    fix="install a newer biasgpu: pip install -U biasgpu",
                )
            if config["task"]["checksum"] != task.checksum:
                raise DamagedFileError(
                    "the task in the file is not the one of its configuration.",
                    why="its checksum differs from the one that was noted.",
                    fix="get the file again from its source, or make the run again.",
                )
            return cls(
                task=task,
                architecture=Architecture.from_config(config["architecture"]),
                prior=priors.from_config(config["prior"]),
                seed=int(config["seed"]),
                first_draw=int(config["first_draw"]),
                curve_fits=int(config["curve_fits"]),
                keep_predictions=bool(config["keep_predictions"]),
                method=method,
                measures=bool(config.get("measures", False)),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(
                f"the configuration in the file is incomplete: {error!r}.",
                why="it says how to rebuild every network.",
                fix="give a file that biasgpu sample wrote.",
            ) from error


def measured_shapes(task: Task, steps: Sequence[Step]) -> dict[str, tuple[int, ...]]:
    """The columns that measures fill, and the shape of a row of each."""
    layers = sum(step.linear is not None for step in steps)
    return {
        "train_logits": (task.n_train, task.n_classes),
        "lipschitz": (),
        "frobenius": (layers,),
        "spectral": (layers,),
    }


def check_parts(task: object, architecture: object) -> None:
    """Refuse what is no task or no architecture.

    Raises:
        UsageError: says which.
    """
    if not isinstance(task, Task):
        raise UsageError(
            f"the task is {task!r}.",
            why="candidates are tried on a task's training samples.",
            fix="make one: biasgpu.task('mnist', n_train=16).",
        )
    if not isinstance(architecture, Architecture):
        raise UsageError(
            f"the architecture is {architecture!r}.",
            why="a prior is drawn over the weights of an architecture.",
            fix="make one: biasgpu.mlp(width=512, depth=2).",
        )


def make(
    task: Task,
    architecture: Architecture,
    prior: str | Prior,
    *,
    seed: int,
    first_index: int = 0,
    curve_fits: int = 100,
    keep_predictions: bool = False,
    method: str = methods.AUTO,
    measures: bool = False,
) -> Experiment:
    """An experiment from the arguments of `sample`."""
    check_parts(task, architecture)
    prior = priors.make(prior)
    whole = Experiment(
        task,
        architecture,
        prior,
        int(seed) if isinstance(seed, np.integer) else seed,
        curve_fits=curve_fits,
        keep_predictions=keep_predictions,
        method=methods.choose(method, task, architecture, prior),
        measures=measures,
    )
    return starting(whole, whole.draw_of(first_index))


def starting(experiment: Experiment, first_draw: int) -> Experiment:
    """The same experiment with its stream beginning at another draw."""
    if first_draw == experiment.first_draw:
        return experiment
    return replace(experiment, first_draw=first_draw)
