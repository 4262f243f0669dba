"""One network by its name: its weights, its float64 logits by the law, and a torch module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biasgpu.decision import arrange, permutation, predictions
from biasgpu.ensemble import Ensemble
from biasgpu.errors import needs_extra
from biasgpu.layout import Step
from biasgpu.packing import DEFAULTS

if TYPE_CHECKING:
    import torch


class Weighted(ABC):
    """A network whose parameters can be written down, drawn or trained."""

    @property
    @abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""

    @abstractmethod
    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """All parameters, output units in the order of the classes."""

    @abstractmethod
    def logits(self, x: npt.NDArray) -> npt.NDArray[np.float64]:
        """Logits by class, by the law."""

    def predict(self, x: npt.NDArray) -> npt.NDArray[np.int64]:
        """The predicted class of each input: int64 `(samples,)`; ties go to the lowest class."""
        return predictions(self.logits(x))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The parameters as float32 tensors, as `module().state_dict()` names them.

        Raises:
            ResourceError: torch is not installed.
        """
        torch = _torch("a state dict")
        return {name: torch.tensor(array) for name, array in self.weights().items()}

    def module(self, dtype: torch.dtype | None = None) -> torch.nn.Sequential:
        """The network as a torch module, ready to run, to train or to export.

        Its outputs are the logits `(samples, n_classes)`, or z `(samples, 1)` of a one-logit head.
        One with batch norms is in evaluation mode: `module().train()` to go on training.

        Args:
            dtype: of its parameters; float32 if None.

        Raises:
            ResourceError: torch is not installed.
        """
        torch = _torch("a torch module")
        weights = self.state_dict()  # first: it says why a network has none
        from biasgpu.torch_modules import module_of

        return module_of(self.steps, weights).to(dtype or torch.float32)


@dataclass(frozen=True)
class Network(Weighted):
    """A candidate: a draw of an ensemble, with its output units arranged.

    Args:
        ensemble: architecture, prior, seed and input shape.
        index: the candidate's 64-bit name, `n_arrangements * draw + arrangement`.

    Raises:
        UsageError: the index is no name of this ensemble.
    """

    ensemble: Ensemble
    index: int

    def __post_init__(self) -> None:
        self.ensemble.split(self.index)

    @property
    def draw(self) -> int:
        """The draw number."""
        return self.ensemble.split(self.index)[0]

    @property
    def arrangement(self) -> int:
        """The arrangement of the output units: see `biasgpu.decision`."""
        return self.ensemble.split(self.index)[1]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The layers in their places."""
        return self.ensemble.steps

    @cached_property
    def _parameters(self) -> dict[str, npt.NDArray[np.float32]]:
        drawn = self.ensemble.parameters(self.draw)
        statistics = self.ensemble.statistics(self.draw)
        result: dict[str, npt.NDArray[np.float32]] = {}
        for step, pair in zip(self.steps, drawn, strict=True):
            given = (*(pair or ()), *statistics.get(step.position, ()))
            for place, (name, shape) in enumerate(step.parts):
                part = given[place] if place < len(given) else None
                if part is None:
                    part = np.full(shape, DEFAULTS[name], np.float32)
                part = part.astype(np.float32, copy=False)
                result[f"{step.position}.{name}"] = (
                    self._arranged(part) if step is self.steps[-1] else part
                )
        for array in result.values():
            array.setflags(write=False)
        return result

    def _arranged(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The output layer's rows by class; for one logit, its sign."""
        if self.ensemble.n_outputs == 1:
            return -rows if self.arrangement else rows
        return np.ascontiguousarray(rows[list(permutation(len(rows), self.arrangement))])

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """All parameters, output units in the order of the classes.

        Returns:
            Read-only float32 arrays by the names of `module().state_dict()`: "0.weight", "0.bias",
            with biases of zero where none are drawn; of a batch norm "1.running_mean" and
            "1.running_var" as well, those of the training set, rounded to float32.
        """
        return dict(self._parameters)

    def logits(self, x: npt.NDArray) -> npt.NDArray[np.float64]:
        """Logits by class, by the law.

        Args:
            x: `(samples, *shape)`, normalised as the task's inputs.

        Returns:
            float64 `(samples, n_classes)`; for a one-logit head (0, z).
        """
        return arrange(self.ensemble.logits(self.draw, x), self.arrangement)


def _torch(purpose: str) -> Any:
    try:
        import torch
    except ImportError:
        raise needs_extra("torch", purpose) from None
    return torch
