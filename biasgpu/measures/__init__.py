"""Measures of any set of networks, drawn or trained; one small module each.

They take a `Run`, a set of trained networks, or `GivenNetworks`, and return arrays over its
networks. docs/measures.md has the formulas, sources and costs.
"""

from __future__ import annotations

from biasgpu.measures.accuracies import accuracy, accuracy_per_class
from biasgpu.measures.class_balance import balance
from biasgpu.measures.columns import (
    margin_at,
    measure_columns,
    normalized_loss_at,
    normalized_margin_at,
    weight_normalized_loss_at,
)
from biasgpu.measures.frobenius_norm import frobenius
from biasgpu.measures.geometric import geometric_margins
from biasgpu.measures.input_gradient import input_gradient_norms
from biasgpu.measures.lipschitz_constant import lipschitz
from biasgpu.measures.margins import margin, training_margins
from biasgpu.measures.normalized import normalized_loss, normalized_margin
from biasgpu.measures.parameter_gradient import gradient_norm
from biasgpu.measures.spectral_norm import spectral
from biasgpu.measures.weight_normalized import weight_normalized_loss

__all__ = [
    "accuracy",
    "accuracy_per_class",
    "balance",
    "frobenius",
    "geometric_margins",
    "gradient_norm",
    "input_gradient_norms",
    "lipschitz",
    "margin",
    "margin_at",
    "measure_columns",
    "normalized_loss",
    "normalized_loss_at",
    "normalized_margin",
    "normalized_margin_at",
    "spectral",
    "training_margins",
    "weight_normalized_loss",
    "weight_normalized_loss_at",
]
