"""An ensemble under method "deferred": names of networks that are drawn as they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, overload

import numpy as np
import numpy.typing as npt

from biasgpu import reference
from biasgpu.deferred import exact, kernel
from biasgpu.deferred import reference as law
from biasgpu.deferred.plan import NORMAL_COST, Plan, limit_variance, make_plan, unsupported
from biasgpu.ensemble import Ensemble, Parameters
from biasgpu.errors import UsageError
from biasgpu.layout import n_products
from biasgpu.priors import NormalPrior

Floats = npt.NDArray[np.float64]
Wide = tuple[Floats, Floats | None]  # a layer's weights and biases
MAX_WEIGHTS_BYTES = 4 << 30  # of a network whose weights are wanted as a whole


@dataclass(frozen=True, eq=False)
class DeferredEnsemble(Ensemble):
    """All networks of an architecture, a Gaussian prior and a seed, met through given inputs.

    A network is asked about the training inputs first, then about the test inputs, in order; what
    it answers is drawn when it is asked. Its weights as a whole (`parameters`) are drawn around
    these answers.

    Args:
        x_train, x_test: float32 `(n, *shape)`.

    Raises:
        UsageError: not Gaussian, or a layer that deferred decisions do not know.
    """

    method: ClassVar[str] = "deferred"
    x_train: npt.NDArray[np.float32] = field(repr=False)
    x_test: npt.NDArray[np.float32] = field(repr=False)

    def _check(self) -> None:
        reason = unsupported(self.steps, self.prior)
        if reason:
            raise UsageError(
                f"method 'deferred' cannot take this: {reason}.",
                why="it draws the images of inputs under dense layers of independent normals.",
                fix="use a Gaussian prior (--prior kaiming-normal), or method='direct' "
                "(--method direct).",
            )
        _ = self.plan

    @cached_property
    def plan(self) -> Plan:
        """What is asked of each layer."""
        return make_plan(self.steps, self.prior, len(self.x_train), len(self.x_test))

    @cached_property
    def x(self) -> npt.NDArray[np.float32]:
        """float32 `(n_inputs, *shape)`: training inputs, then test inputs."""
        return np.concatenate([self.x_train, self.x_test])

    @cached_property
    def inputs(self) -> Floats:
        """float64 `(n_inputs, n_in)`: inputs of the first dense layer where all draws share it."""
        assert self.plan.shared
        return self._through_front(0, self.x)

    @cached_property
    def shared(self) -> tuple[Floats, Floats] | None:
        """The first layer's directions and coefficients where all draws share its inputs."""
        plan = self.plan
        if plan.infinite:
            return np.zeros((plan.n_inputs, 0)), self._process()
        if not plan.shared:
            return None
        layer = plan.layers[0]
        x = law.augmented(layer, self.inputs)[: layer.n_asked]
        return exact.arithmetic().orthonormalize(x, plan.n_train)

    def _process(self) -> Floats:
        """The coefficients of the Gaussian process of an infinite network."""
        assert isinstance(self.prior, NormalPrior)
        limit = limit_variance(self.prior)
        assert limit is not None
        x = self.inputs
        variance = float(self.prior.scale(x.shape[1])) ** 2
        return kernel.cholesky(kernel.covariance(x, variance, limit, self.plan.infinite))

    def _through_front(self, draw: int, x: npt.NDArray[np.float32]) -> Floats:
        """What the steps before the first dense layer make of inputs: float64 `(n, n_in)`."""
        y = x.astype(np.float64)
        for step, pair in zip(self.plan.front, self._front(draw), strict=True):
            y = reference.apply(step.layer, y, *(pair or ()))
        return y.reshape(len(y), -1)

    def _front(self, draw: int) -> list[Wide | None]:
        """The front's weights, drawn as by method "direct"."""
        drawn = [self.step_parameters(draw, step) for step in self.plan.front]
        return [None if pair is None else (_wide(pair[0]), _wide(pair[1])) for pair in drawn]

    def features(self, draw: int, n: int) -> Floats:
        """The first layer's inputs for the first `n` inputs: float64 `(n, n_in)`."""
        if self.plan.shared:
            return self.inputs[:n]
        return self._through_front(draw, self.x[:n])

    def rows_of(self, x: npt.NDArray) -> slice | None:
        """Which of the ensemble's own inputs `x` are: some of the first, or all of the test set.

        Returns:
            their places in `self.x`; None for other inputs.
        """
        n_train, n = len(self.x_train), len(x)
        for begin in (0, n_train):
            if begin + n > len(self.x) or (begin and n != len(self.x_test)):
                continue
            if np.array_equal(x, self.x[begin : begin + n]):
                return slice(begin, begin + n)
        return None

    def logits(self, draw: int, x: npt.NDArray) -> Floats:
        """Logits of a draw, outputs as drawn.

        Those of its own inputs by the law; those of others from its weights as a whole, in float64.

        Args:
            draw: the draw number.
            x: `(samples, *shape)`.

        Returns:
            float64 `(samples, n_outputs)`.

        Raises:
            UsageError: other inputs, and an infinite network, or one too large to be written down.
        """
        rows = self.rows_of(x)
        with np.errstate(over="ignore", invalid="ignore"):
            if rows is not None:
                n = len(self.x) if rows.stop > len(self.x_train) else rows.stop
                features = self.features(draw, n)
                found = law.logits(self.plan, self.seed, draw, features, self.shared)
                return found[rows]
            return reference.forward(self.steps, self._float64_parameters(draw), np.asarray(x))

    def parameters(self, draw: int) -> list[Parameters | None]:
        """The weights of a draw as a whole, rounded to float32: see `Ensemble.parameters`.

        They give back the logits of the ensemble's inputs up to that rounding.

        Raises:
            UsageError: an infinite network, or one too large to be written down.
        """
        return [
            None if pair is None else (_narrow(pair[0]), _narrow(pair[1]))
            for pair in self._float64_parameters(draw)
        ]

    def _float64_parameters(self, draw: int) -> list[Wide | None]:
        self.check_size()
        result = self._front(draw)
        features = self.features(draw, len(self.x))
        matrices = iter(
            law.weights(self.plan, self.seed, draw, features, self.shared, exact.arithmetic())
        )
        for step in self.steps[len(result) :]:
            if step.linear is None:
                result.append(None)
                continue
            rows = next(matrices)
            bias = rows[:, step.fan_in].copy() if step.columns > step.fan_in else None
            result.append((np.ascontiguousarray(rows[:, : step.fan_in]), bias))
        return result

    def check_size(self) -> None:
        """Refuse to write down what has no weights, or too many.

        Raises:
            UsageError: says which.
        """
        if self.plan.infinite:
            raise UsageError(
                "an infinitely wide network has no weights.",
                why="it is a Gaussian process, known on its training and test inputs only.",
                fix="use a finite width, however large (--width 4096).",
            )
        n = sum(layer.units * layer.columns for layer in self.plan.layers)
        if 8 * n > MAX_WEIGHTS_BYTES:
            raise UsageError(
                f"the network has {n:,} weights.",
                why=f"written down they would take {8 * n / 2**30:.0f} GiB; what they do to the "
                "training and test inputs is known without.",
                fix="look at predictions and margins instead, or use a smaller width.",
            )

    def products(self, n_inputs: int) -> float:
        """See `Ensemble.products`; for its own inputs, up to so many."""
        plan = self.plan
        total = float(n_products(plan.front)) * n_inputs
        for number, layer in enumerate(plan.layers):
            asked = min(n_inputs, layer.n_asked)
            total += asked * asked / 2 * layer.units
            if number or not plan.shared:
                total += 2.0 * asked * asked * layer.columns
            if asked < n_inputs:
                total += float(layer.units) * layer.columns * (n_inputs + asked + NORMAL_COST)
        return total


@overload
def _wide(part: npt.NDArray[np.float32]) -> Floats: ...
@overload
def _wide(part: npt.NDArray[np.float32] | None) -> Floats | None: ...
def _wide(part: npt.NDArray[np.float32] | None) -> Floats | None:
    return None if part is None else part.astype(np.float64)


@overload
def _narrow(part: Floats) -> npt.NDArray[np.float32]: ...
@overload
def _narrow(part: Floats | None) -> npt.NDArray[np.float32] | None: ...
def _narrow(part: Floats | None) -> npt.NDArray[np.float32] | None:
    with np.errstate(over="ignore"):
        return None if part is None else part.astype(np.float32)
