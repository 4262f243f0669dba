"""One network in numbers: its layers, the size of its weights, its margins and accuracies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from biasgpu.decision import margins, predictions
from biasgpu.errors import UsageError
from biasgpu.layers import INFINITE
from biasgpu.network import Network
from biasgpu.task import Task
from biasgpu.training.network import TrainedNetwork


def describe_network(network: Network | TrainedNetwork, task: Task) -> dict[str, Any]:
    """What is worth knowing of a network on a task, decided by the law.

    Args:
        network: any candidate; it need not fit the task.
        task: inputs of the network's shape.

    Returns:
        JSON-able: `index`, `draw`, `arrangement`, `fit`, `prefix`, `train_accuracy`, `margin` (the
        least over the training samples of correct logit - best other one), `test_accuracy`,
        `test_accuracy_per_class` by class name, `layers`: name, shape, number of parameters and
        Frobenius, spectral norm of each weight (None of a batch norm's), norm of each bias; and
        `without_weights`: "", or why there are no weights to be described.
    """
    train = network.logits(task.x_train)
    right = predictions(train) == task.y_train
    prefix = len(right) if right.all() else int(np.argmin(right))
    answers = predictions(network.logits(task.x_test)) if task.n_test else np.zeros(0, np.int64)
    correct = answers == task.y_test
    per_class = {
        name: float(correct[task.y_test == label].mean()) if (task.y_test == label).any() else None
        for label, name in enumerate(task.class_names)
    }
    try:
        weights, without_weights = network.weights(), ""
    except UsageError as error:  # infinitely wide, or too wide to be written down
        weights, without_weights = {}, error.what
    return {
        "index": int(network.index),
        "draw": int(network.draw),
        "arrangement": int(network.arrangement),
        "seed": int(network.ensemble.seed),
        "fit": bool(right.all()),
        "prefix": prefix,
        "n_train": task.n_train,
        "train_accuracy": float(right.mean()),
        "margin": float(margins(train, task.y_train).min()),
        "test_accuracy": float(correct.mean()) if task.n_test else None,
        "test_accuracy_per_class": per_class,
        "layers": _layers(network, weights),
        "without_weights": without_weights,
    }


def _layers(
    network: Network | TrainedNetwork, weights: dict[str, npt.NDArray[np.float32]]
) -> list[dict[str, Any]]:
    layers = []
    for step in network.steps:
        layer: dict[str, Any] = {
            "layer": type(step.layer).__name__,
            "output_shape": ["inf" if n == INFINITE else n for n in step.out_shape],
        }
        name = f"{step.position}.weight"
        if name in weights:
            weight = weights[name].astype(np.float64)
            none = np.zeros(0, np.float32)  # where the layer has no biases
            bias = weights.get(f"{step.position}.bias", none).astype(np.float64)
            matrix = weight.reshape(len(weight), -1)
            layer |= {
                "name": str(step.position),
                "weight_shape": list(weight.shape),
                "n_parameters": int(weight.size + bias.size),
                # A batch norm's weights are no matrix of a linear map.
                "frobenius_norm": float(np.linalg.norm(matrix)) if step.linear else None,
                "spectral_norm": float(np.linalg.norm(matrix, 2)) if step.linear else None,
                "bias_norm": float(np.linalg.norm(bias)),
            }
        layers.append(layer)
    return layers
