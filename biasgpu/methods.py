"""Sampling methods: how a name becomes a network.

`direct` draws every weight. `deferred` draws what the network does to its inputs, and weights only
where they are wanted: under Gaussian priors the same law for a fraction of the work
(docs/deferred.md).
The names of one method mean nothing to the other.
"""

from __future__ import annotations

from biasgpu.architectures import Architecture
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.plan import unsupported
from biasgpu.ensemble import Ensemble
from biasgpu.errors import unknown
from biasgpu.layers import Conv2d
from biasgpu.layout import coupled, lay_out
from biasgpu.priors import Prior
from biasgpu.task import Task

NAMES = ("direct", "deferred")
AUTO = "auto"


def choose(method: str, task: Task, architecture: Architecture, prior: Prior) -> str:
    """The method to use: "auto" is "deferred" for dense layers under a Gaussian prior.

    Convolutions have to be drawn anyway, and dense layers behind them are small.

    Raises:
        UsageError: an unknown method.
    """
    if method not in (AUTO, *NAMES):
        raise unknown("method", str(method), (AUTO, *NAMES))
    if method != AUTO:
        return method
    layers = architecture.resolve(task.shape, task.n_classes)
    if any(isinstance(layer, Conv2d) for layer in layers):
        return "direct"
    steps = lay_out(layers, task.shape, prior.bits)
    return "direct" if unsupported(steps, prior) and not architecture.infinite else "deferred"


def ensemble(
    method: str, task: Task, architecture: Architecture, prior: Prior, seed: int
) -> Ensemble:
    """All networks that a run by this method draws from.

    Raises:
        UsageError: an unknown method, or parts that do not fit together.
    """
    if method == "direct":
        parts = (architecture, prior, task.shape, task.n_classes, seed)
        layers = architecture.resolve(task.shape, task.n_classes)
        if coupled(lay_out(layers, task.shape, prior.bits)):
            return BatchNormEnsemble(*parts, task.x_train)
        return Ensemble(*parts)
    if method != "deferred":
        raise unknown("method", method, NAMES)
    return DeferredEnsemble(
        architecture, prior, task.shape, task.n_classes, seed, task.x_train, task.x_test
    )
