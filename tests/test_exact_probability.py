"""Fit probabilities against values known exactly. Seeds are fixed, so these tests cannot flicker;
an interval of confidence 1 - 1e-6 would miss one time in a million seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from biasgpu import mlp
from biasgpu.architectures import Architecture
from biasgpu.estimates import clopper_pearson
from biasgpu.run import Run
from biasgpu.sampling import sample
from biasgpu.task import Task

CONFIDENCE = 1 - 1e-6
CANDIDATES = 60_000


def run_on(
    x: np.ndarray, architecture: Architecture, prior: str, candidates: int = CANDIDATES
) -> Run:
    x = x.astype(np.float32)
    y = np.arange(len(x)) % 2
    task = Task("known", x, y, x, y, ("a", "b"))
    return sample(
        task,
        architecture,
        prior,
        candidates=candidates,
        seed=17,
        confidence=CONFIDENCE,
        curve_fits=0,
    )


def contains(run: Run, n_train: int, exact: float) -> bool:
    found = run.estimate(n_train)
    # An interval that contains everything would prove nothing.
    assert found.high < 1.35 * exact
    assert found.low > 0.7 * exact
    return found.low <= exact <= found.high


@pytest.mark.parametrize("head", ["one-logit", "logits"])
@pytest.mark.parametrize("prior", ["normal", "uniform", "uniform8"])
def test_a_linear_classifier_on_orthogonal_inputs(head: str, prior: str) -> None:
    run = run_on(np.eye(6), mlp(depth=0, head=head), prior)  # pyright: ignore[reportArgumentType]
    if prior == "uniform8" and head == "logits":
        # Two of 256 values are equal one time in 256, and a tie goes to class 0: samples of
        # class 1 need a strict inequality, those of class 0 do not.
        tie = 1 / 256
        for n in (2, 4, 6):
            strict = (1 - tie) / 2
            assert contains(run, n, (strict * (strict + tie)) ** (n // 2))
        return
    for n in (2, 4, 6):
        assert contains(run, n, 2.0**-n)


def test_a_linear_classifier_on_rotated_inputs() -> None:
    rng = np.random.default_rng(4)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    run = run_on(3.0 * rotation, mlp(depth=0, head="one-logit"), "normal")
    for n in (2, 4, 6):
        assert contains(run, n, 2.0**-n)


def test_every_arrangement_is_as_likely() -> None:
    run = run_on(np.eye(4), mlp(depth=0, head="one-logit"), "normal")
    for arrangement in (0, 1):
        count = int((run.fits_at(4).index % np.uint64(2) == arrangement).sum())
        low, high = clopper_pearson(count, run.n_draws, CONFIDENCE)
        assert low <= 2.0**-4 <= high


def pair(angle: float) -> np.ndarray:
    return np.array([[1.0, 0.0], [2.0 * math.cos(angle), 2.0 * math.sin(angle)]])


@pytest.mark.parametrize("angle", [0.3, 1.0, math.pi / 2, 2.5])
@pytest.mark.parametrize("head", ["one-logit", "logits"])
def test_a_linear_classifier_on_two_inputs(angle: float, head: str) -> None:
    """A random hyperplane parts them with probability angle / pi, the right way round in half."""
    run = run_on(pair(angle), mlp(depth=0, head=head), "normal")  # pyright: ignore[reportArgumentType]
    assert contains(run, 2, angle / (2 * math.pi))


@pytest.mark.parametrize("angle", [1.0, 2.5])
def test_one_hidden_unit_on_two_inputs(angle: float) -> None:
    """With one rectified unit, an output can tell the inputs apart only if the unit is silent on
    one of them. The other must be the one of class 1, since a tie goes to class 0: probability
    angle / (2 pi). Then the output's sign is right in one of the two arrangements."""
    run = run_on(pair(angle), mlp(1, 1, head="one-logit"), "normal")
    assert contains(run, 2, angle / (4 * math.pi))


@pytest.mark.parametrize("angle", [1.0, 2.5])
def test_two_logits_on_one_hidden_unit(angle: float) -> None:
    """As above: the two outputs differ by w times the unit, with a symmetric w."""
    run = run_on(pair(angle), mlp(1, 1), "normal")
    assert contains(run, 2, angle / (4 * math.pi))


def test_a_second_layer_of_known_angle() -> None:
    """The second layer parts the hidden activations of the two inputs with probability
    phi / pi, phi being the angle between them; here averaged over first layers as drawn."""
    run = run_on(pair(1.0), mlp(4, 1, head="one-logit"), "normal", candidates=80_000)
    angles = []
    for draw in range(3000):
        weight = run.network(2 * draw).weights()["1.weight"].astype(np.float64)
        one, two = np.maximum(run.task.x_train.astype(np.float64) @ weight.T, 0.0)
        size = np.linalg.norm(one) * np.linalg.norm(two)
        if size:
            angles.append(math.acos(min(1.0, float(one @ two) / size)) / math.pi)
        else:
            # Silent on one input: told apart if that one is of class 0, see above.
            angles.append(float(not one.any() and two.any()))
    mean, error = float(np.mean(angles)), float(np.std(angles)) / math.sqrt(len(angles))
    found = run.estimate(2)
    assert found.low - 3 * error / 2 <= mean / 2 <= found.high + 3 * error / 2
