"""What a training stream is made of: all that decides which networks it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from biasgpu import priors
from biasgpu.architectures import Architecture
from biasgpu.engines.base import MAX_TRAIN
from biasgpu.ensemble import Ensemble
from biasgpu.errors import DamagedFileError, UsageError
from biasgpu.experiment import check_parts, measured_shapes
from biasgpu.layout import coupled
from biasgpu.packing import Packing
from biasgpu.priors import Prior
from biasgpu.task import Task
from biasgpu.training.recipe import Recipe

KIND = "trained"


@dataclass(frozen=True, eq=False)
class Training:
    """Task, architecture, initialisation, recipe and seed, and what is kept of each network.

    Args:
        task: what the networks are trained on.
        architecture: their layers.
        init: the distribution of their weights before training.
        recipe: how they are trained.
        seed: 64-bit seed of the initialisations, and of the order of the samples.
        first_draw: where the stream begins.
        keep_predictions: keep the predicted class of every test sample.
        gradient_norms: keep the norm of the gradient at every epoch.
        measures: keep what measures need (`biasgpu.measures.columns`).
        keep_weights: keep the weights in the results file.

    Raises:
        UsageError: parts that do not fit together, or numbers out of range.
    """

    task: Task
    architecture: Architecture
    init: Prior
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    first_draw: int = 0
    keep_predictions: bool = False
    gradient_norms: bool = False
    measures: bool = False
    keep_weights: bool = True
    method: ClassVar[str] = "direct"

    def __post_init__(self) -> None:
        check_parts(self.task, self.architecture)
        if self.task.n_train > MAX_TRAIN:
            raise UsageError(
                f"n_train is {self.task.n_train}.",
                why=f"a prefix counts up to {MAX_TRAIN} training samples.",
                fix=f"use n_train <= {MAX_TRAIN} (--n-train).",
            )
        if self.architecture.infinite:
            raise UsageError(
                "an infinitely wide network cannot be trained.",
                why="training changes weights, and it has none.",
                fix="use a finite width, however large (width=4096, --width 4096).",
            )
        if self.recipe.searches and coupled(self.ensemble.steps):
            raise UsageError(
                f"{self.recipe.optimizer} does not take networks with batch norms.",
                why="a search follows one loss, and running statistics would change it as it goes.",
                fix="train by optimizer='sgd' (--optimizer sgd).",
            )
        if not 0 <= self.first_draw < self.last_draw:
            raise UsageError(
                f"the stream cannot begin at draw {self.first_draw}.",
                why=f"draws have the numbers 0 to {self.last_draw - 1}.",
                fix="begin earlier: first_index=0 (--first-index 0).",
            )

    @cached_property
    def ensemble(self) -> Ensemble:
        """The networks that training begins with."""
        task = self.task
        return Ensemble(self.architecture, self.init, task.shape, task.n_classes, self.seed)

    @property
    def prior(self) -> Prior:
        """The initialisation, by the name that it has among priors."""
        return self.init

    @property
    def last_draw(self) -> int:
        """The end of the draws that have names and can be counted."""
        return min(self.ensemble.max_draws, 2**64 - 1)

    @property
    def n_counted(self) -> int:
        """A draw counts as one network: trained as it is drawn, its outputs not arranged."""
        return 1

    @property
    def n_parameters(self) -> int:
        """Parameters of one network, biases included."""
        return Packing(self.ensemble.steps).n_parameters

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The optional columns of its rows in a results file, and the shape of a row of each."""
        shapes: dict[str, tuple[int, ...]] = {"epochs": ()}
        if self.measures:
            shapes |= measured_shapes(self.task, self.ensemble.steps)
        if self.gradient_norms:
            shapes["gradient_norm"] = (self.recipe.epochs + 1,)
        return shapes | self.weights_shape if self.keep_weights else shapes

    @property
    def weights_shape(self) -> dict[str, tuple[int, ...]]:
        """The column of the weights, and the shape of a row of it."""
        return {"weights": (len(self.recipe.kept), self.n_parameters)}

    def draw_of(self, index: int) -> int:
        """The draw that the stream begins with, for the index of its first network.

        Raises:
            UsageError: not arrangement 0 of a draw, or no name of this ensemble.
        """
        draw, arrangement = self.ensemble.split(index)
        if arrangement:
            n = self.ensemble.n_arrangements
            raise UsageError(
                f"first_index is {index}; a network is trained as it is drawn.",
                why=f"such networks have indices that are multiples of {n} here.",
                fix=f"first_index={n * draw} or {n * (draw + 1)} (--first-index).",
            )
        return draw

    def starting(self, first_index: int) -> Training:
        """The same with its stream beginning at another index.

        Raises:
            UsageError: as `draw_of`.
        """
        return replace(self, first_draw=self.draw_of(first_index))

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description; with the task, `from_config` rebuilds the training."""
        task = self.task
        return {
            "kind": KIND,
            "method": self.method,
            "task": {
                "name": task.name,
                "classes": list(task.class_names),
                "n_train": task.n_train,
                "checksum": task.checksum,
            },
            "architecture": self.architecture.to_config(),
            "init": self.init.to_config(),
            "recipe": self.recipe.to_config(),
            "seed": int(self.seed),
            "first_draw": int(self.first_draw),
            "keep_predictions": bool(self.keep_predictions),
            "gradient_norms": bool(self.gradient_norms),
            "measures": bool(self.measures),
            "keep_weights": bool(self.keep_weights),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], task: Task) -> Training:
        """The training that `to_config` described.

        Args:
            config: from a results file.
            task: from the same file.

        Raises:
            DamagedFileError: the configuration is incomplete, or not of this task.
            UsageError: a prior or layer that is not known here.
        """
        try:
            if config["kind"] != KIND or config["method"] != cls.method:
                raise UsageError(
                    f"the file holds networks of kind {config['kind']!r}.",
                    why="this biasgpu knows drawn networks and trained ones.",
                    fix="install a newer biasgpu: pip install -U biasgpu",
                )
            if config["task"]["checksum"] != task.checksum:
                raise DamagedFileError(
                    "the task in the file is not the one of its configuration.",
                    why="its checksum differs from the one that was noted.",
                    fix="get the file again from its source, or train again.",
                )
            return cls(
                task=task,
                architecture=Architecture.from_config(config["architecture"]),
                init=priors.from_config(config["init"]),
                recipe=Recipe.from_config(config["recipe"]),
                seed=int(config["seed"]),
                first_draw=int(config["first_draw"]),
                keep_predictions=bool(config["keep_predictions"]),
                gradient_norms=bool(config["gradient_norms"]),
                measures=bool(config["measures"]),
                keep_weights=bool(config["keep_weights"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(
                f"the configuration in the file is incomplete: {error!r}.",
                why="it says how the networks were trained.",
                fix="give a file that biasgpu train wrote.",
            ) from error
