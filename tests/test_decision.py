"""Arrangements, ties, prefixes: decided at once, against trying every arrangement."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biasgpu import decision, priors
from biasgpu.architectures import mlp
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.consistency import ALL_TIED, UNSURE, prefixes
from biasgpu.ensemble import Ensemble
from biasgpu.errors import NonFiniteError


def _ensemble(n_classes: int, head: str = "logits") -> Ensemble:
    architecture = mlp(1, 0, head=head)  # pyright: ignore[reportArgumentType]
    return Ensemble(architecture, priors.make("uniform"), (1,), n_classes, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_permutations_are_in_lexicographic_order(n: int) -> None:
    orders = list(itertools.permutations(range(n)))
    assert [decision.permutation(n, a) for a in range(math.factorial(n))] == orders
    assert [decision.arrangement_of(order) for order in orders] == list(range(len(orders)))


def test_arrange() -> None:
    logits = np.array([[1.0, 2.0, 3.0]])
    assert decision.arrange(logits, 3).tolist() == [[2.0, 3.0, 1.0]]  # (1, 2, 0)
    assert decision.arrange(np.array([[5.0]]), 0).tolist() == [[0.0, 5.0]]
    assert decision.arrange(np.array([[5.0]]), 1).tolist() == [[0.0, -5.0]]


def test_ties_go_to_the_lowest_class() -> None:
    logits = np.array([[1.0, 1.0], [0.0, 1.0], [-0.0, 0.0]])
    assert decision.predictions(logits).tolist() == [0, 1, 0]


def test_margins() -> None:
    logits = np.array([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [3.0, 3.0, 0.0]])
    assert decision.margins(logits, np.array([1, 2, 0])).tolist() == [2.0, -2.0, 0.0]


@st.composite
def _tied_logits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Ensemble]:
    """Logits of few distinct values, so that ties are everywhere."""
    n_classes = draw(st.integers(2, 4))
    one = n_classes == 2 and draw(st.booleans())
    n_samples = draw(st.integers(1, 9))
    values = draw(st.integers(1, 3))
    numbers = st.integers(-values, values) if one else st.integers(0, values)
    n_outputs = 1 if one else n_classes
    size = n_samples * n_outputs
    logits = draw(st.lists(numbers, min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, n_classes - 1), min_size=n_samples, max_size=n_samples))
    ensemble = _ensemble(n_classes, "one-logit" if one else "logits")
    shaped = np.array(logits, dtype=np.float64).reshape(n_samples, n_outputs)
    return shaped, np.array(labels, dtype=np.int64), ensemble


@settings(derandomize=True, deadline=None, max_examples=400)
@given(_tied_logits())
def test_decide_agrees_with_trying_them_all(case: tuple[np.ndarray, np.ndarray, Ensemble]) -> None:
    logits, labels, ensemble = case
    every = decision.all_prefixes(logits, labels, ensemble.n_arrangements)
    decided = decision.decide(logits[None], labels, ensemble, np.zeros(1, np.uint64))
    assert decided.prefix[0] == every.max()
    assert every[decided.arrangement[0]] == every.max()
    for stop in range(1, len(labels) + 1):
        if set(labels[:stop].tolist()) == set(range(ensemble.n_classes)):
            assert (every >= stop).sum() <= 1


@settings(derandomize=True, deadline=None, max_examples=400)
@given(_tied_logits(), st.data())
def test_consistency_agrees_with_trying_them_all(
    case: tuple[np.ndarray, np.ndarray, Ensemble], data: st.DataObject
) -> None:
    """What `prefixes` states is right; it is borderline only if an unsure sample forces it."""
    logits, labels, ensemble = case
    by_unit = decision.arrange(logits, 0)
    tops = by_unit.argmax(axis=1)
    tied = (by_unit == by_unit.max(axis=1, keepdims=True)).sum(axis=1)
    tops[tied > 1] = UNSURE
    tops[tied == by_unit.shape[1]] = ALL_TIED
    hidden = data.draw(st.lists(st.booleans(), min_size=len(tops), max_size=len(tops)))
    tops[np.array(hidden) & (np.arange(len(tops)) % 3 == 2)] = UNSURE
    n_arrangements = data.draw(st.sampled_from([ensemble.n_arrangements, 1]))
    if ensemble.n_outputs > 1:
        n_arrangements = ensemble.n_arrangements
    every = decision.all_prefixes(logits, labels, n_arrangements)
    stated = prefixes(tops[None], labels, ensemble.n_outputs, n_arrangements)
    assert stated.dtype == np.uint16
    first_unsure = min([*np.flatnonzero(tops == UNSURE).tolist(), len(tops)])
    if stated[0] == BORDERLINE:
        # No contradiction before the first unsure sample: some arrangement got that far.
        assert every.max() >= first_unsure < len(tops)
    else:
        assert stated[0] == every.max() <= first_unsure


def test_consistency_of_many_draws_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    tops = rng.choice([UNSURE, ALL_TIED, 0, 1, 2], p=[0.05, 0.05, 0.5, 0.2, 0.2], size=(500, 6))
    labels = np.array([0, 1, 2, 0, 1, 2])
    together = prefixes(tops, labels, 3, 6)
    alone = [int(prefixes(row[None], labels, 3, 6)[0]) for row in tops]
    assert together.tolist() == alone
    assert len(set(alone)) > 4


def test_one_logit_without_sign_flip() -> None:
    labels = np.array([0, 1, 0])
    tops = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 1], [ALL_TIED, 1, ALL_TIED]])
    assert prefixes(tops, labels, 1, 1).tolist() == [3, 0, 2, 3]
    assert prefixes(tops, labels, 1, 2).tolist() == [3, 3, 2, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_are_an_error(value: float) -> None:
    logits = np.zeros((3, 2, 2))
    logits[1, 1, 0] = value
    draws = np.array([5, 2**40 + 6, 7], dtype=np.uint64)
    with pytest.raises(NonFiniteError, match=f"draw {2**40 + 6}"):
        decision.decide(logits, np.array([0, 1]), _ensemble(2), draws)
