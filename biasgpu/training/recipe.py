"""A recipe: which optimiser trains, with what step, batches and epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from biasgpu.errors import DamagedFileError, UsageError, unknown

Optimizer = Literal["sgd", "momentum", "adam", "pattern-search", "greedy-random"]
SEARCHES = ("pattern-search", "greedy-random")
ALONG_GRADIENTS = ("sgd", "momentum", "adam")
OPTIMIZERS = (*ALONG_GRADIENTS, *SEARCHES)
MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
MAX_EPOCHS = 1_000_000
MAX_PROPOSALS = 2**31 - 1  # of a network: each has a stream of random words
PROPOSALS = TRIES = 100  # of searches, where nothing else is asked for
FIRST_STEP = 1.0  # of searches, as published


@dataclass(frozen=True)
class Recipe:
    """How networks are trained; the loss is cross-entropy, its mean over the batch.

    Every epoch visits the training samples once, in an order of its own that all networks share;
    the last batch is smaller where the batch size does not divide n_train.

    The optimizers "pattern-search" and "greedy-random" take no gradient: they propose other
    weights, and keep them if the weight-normalised loss over the whole training set falls
    (`biasgpu.training.search_law`). Their epoch is so many proposals.

    Args:
        optimizer: "sgd" (plain), "momentum" (v <- 0.9 v + g, w <- w - rate v), "adam"
            (beta 0.9 and 0.999, epsilon 1e-8, biases corrected), "pattern-search" (one parameter is
            stepped up or down), or "greedy-random" (Gaussian noise on all parameters).
        learning_rate: the step; of a search the one it begins with: what is added to a parameter,
            or the standard deviation of the noise.
        batch_size: samples a step; n_train (or more) is full-batch gradient descent. Searches take
            all samples whatever it is.
        epochs: passes over the training set, of a search `proposals` each; 0 leaves the
            initialisations.
        keep_epochs: epochs after which the weights are kept as well, 0 for the initialisation;
            increasing, all below `epochs`.
        stop_early: a network stops after the first epoch that it ends without training error.
        proposals: of an epoch of a search, None for 100; None for other optimizers.
        tries: proposals in a row that a search does not keep before it halves its step, None for
            100; None for other optimizers.

    Raises:
        UsageError: numbers out of range.

    Source:
        Peleg and Hein, ICML 2024, for plain SGD with batches of min(2, N / 2) and 60 epochs; Kingma
        and Ba, ICLR 2015, for Adam; Chiang et al., ICLR 2023, for both searches.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.01
    batch_size: int = 2
    epochs: int = 60
    keep_epochs: tuple[int, ...] = ()
    stop_early: bool = False
    proposals: int | None = None
    tries: int | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", str(self.optimizer), OPTIMIZERS)
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not _positive(rate):
            raise UsageError(
                f"learning_rate is {rate!r}; it must be a finite number above 0.",
                why="it is how far a step goes along the gradient.",
                fix="for example learning_rate=0.01 (--learning-rate 0.01).",
            )
        _whole("batch_size", self.batch_size, 1, MAX_EPOCHS, "so many samples make a step")
        _whole("epochs", self.epochs, 0, MAX_EPOCHS, "it counts passes over the training set")
        self._check_search()
        object.__setattr__(self, "keep_epochs", tuple(self.keep_epochs))
        for epoch in self.keep_epochs:
            _whole("keep_epochs", epoch, 0, MAX_EPOCHS, "weights are kept after whole epochs")
        if list(self.keep_epochs) != sorted({*self.keep_epochs}) or (
            self.keep_epochs and self.keep_epochs[-1] >= self.epochs
        ):
            raise UsageError(
                f"keep_epochs is {self.keep_epochs} with {self.epochs} epochs.",
                why="they increase, and the last epoch is kept anyway.",
                fix=f"name epochs from 0 to {max(self.epochs - 1, 0)} in order: "
                "keep_epochs=(0, 1, 3, 5) (--keep-epochs 0,1,3,5).",
            )

    def _check_search(self) -> None:
        for name in ("proposals", "tries"):
            value = getattr(self, name)
            if self.searches:
                default = PROPOSALS if name == "proposals" else TRIES
                object.__setattr__(self, name, default if value is None else value)
                why = "a search makes proposals, and halves its step when none is kept"
                _whole(name, getattr(self, name), 1, MAX_PROPOSALS, why)
            elif value is not None:
                raise UsageError(
                    f"{name} is {value!r} with optimizer {self.optimizer!r}.",
                    why="only searches make proposals.",
                    fix=f"leave {name} out (--{name}), or take a search: "
                    "optimizer='pattern-search' (--optimizer pattern-search).",
                )
        if self.searches and self.epochs * self.n_proposals > MAX_PROPOSALS:
            raise UsageError(
                f"{self.epochs} epochs of {self.proposals} proposals are more than "
                f"{MAX_PROPOSALS}.",
                why="so many have random words of their own.",
                fix="fewer of either: epochs=1000, proposals=100 (--epochs 1000 --proposals 100).",
            )

    @property
    def searches(self) -> bool:
        """Whether the optimizer is a search: it takes no gradient."""
        return self.optimizer in SEARCHES

    @property
    def n_proposals(self) -> int:
        """Proposals an epoch; 0 where the optimizer makes none."""
        return self.proposals or 0

    @property
    def n_tries(self) -> int:
        """Proposals in vain after which the step is halved; 0 where the optimizer makes none."""
        return self.tries or 0

    @property
    def kept(self) -> tuple[int, ...]:
        """All epochs whose weights are kept; the last is `epochs`."""
        return (*self.keep_epochs, self.epochs)

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description; `from_config` rebuilds the recipe."""
        config = {**asdict(self), "keep_epochs": list(self.keep_epochs)}
        if not self.searches:  # as before there were searches
            del config["proposals"], config["tries"]
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_config` described.

        Raises:
            DamagedFileError: no recipe, or one of a newer biasgpu.
        """
        try:
            names = [field.name for field in fields(cls)]
            if config["optimizer"] not in SEARCHES:
                names = [name for name in names if name not in ("proposals", "tries")]
            named = {name: config[name] for name in names}
            if len(named) != len(config):
                raise KeyError(*({*config} - {*named}))
            return cls(**{**named, "keep_epochs": tuple(named["keep_epochs"])})
        except (LookupError, TypeError, UsageError) as error:
            raise DamagedFileError(
                f"the recipe in the file is not one: {error}.",
                why="it says how the networks were trained.",
                fix="get the file again from its source, or install a newer biasgpu.",
            ) from error


def published_batch_size(n_train: int) -> int:
    """min(2, N / 2), and 1 for fewer than two samples a class.

    Source:
        Peleg and Hein, ICML 2024.
    """
    return max(1, min(2, n_train // 2))


def published_learning_rate(init: str, data: str, optimizer: str = "sgd") -> float:
    """The learning rate of the published study for an initialisation and a data set.

    Args:
        init: the prior's name, "uniform" being U[-1, 1]; its half-width in other cases.
        data: the data set's name.
        optimizer: its name; a search begins with the same step everywhere.

    Source:
        Peleg and Hein, ICML 2024: 0.01; from U[-1, 1] 0.001 on MNIST and 0.0001 on CIFAR-10.
        Searches: 1, as in the code of Chiang et al., ICLR 2023.
    """
    if optimizer in SEARCHES:
        return FIRST_STEP
    if init != "uniform":
        return 0.01
    return 0.0001 if "cifar" in data.lower() else 0.001


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _whole(name: str, value: object, least: int, most: int, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        option = name.replace("_", "-")
        raise UsageError(
            f"{name} is {value!r}; it must be a whole number from {least} to {most}.",
            why=f"{why}.",
            fix=f"for example {name}={max(least, 2)} (--{option} {max(least, 2)}).",
        )
