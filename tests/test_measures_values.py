"""Every other measure, against torch and plain formulas in float64."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from biasgpu import given, measures
from biasgpu.errors import NonFiniteError, UsageError
from biasgpu.measures import batches
from biasgpu.measures.cross_entropy import cross_entropy, scaled_loss
from biasgpu.networks import GivenNetworks
from biasgpu.packing import Packing
from tests.measure_cases import ARCHITECTURES, module_of, networks_of, torch_logits

torch = pytest.importorskip("torch")
ROUNDINGS = 1e-11  # relative: float64 sums of some thousand terms that hardly cancel


def by_torch(networks, x) -> np.ndarray:
    """Logits by class: `(n, samples, K)`."""
    modules = [module_of(networks.steps, flat) for flat in networks.flat]
    return np.array([torch_logits(module, x).detach().numpy() for module in modules])


@pytest.mark.parametrize("name", ["one logit", "four classes", "lenet"])
def test_accuracy_balance_and_margins(name) -> None:
    networks = networks_of(name, 9, n_test=14)
    task = networks.task
    answers = by_torch(networks, task.x_test).argmax(axis=2)
    right = answers == task.y_test
    np.testing.assert_array_equal(measures.accuracy(networks), right.sum(axis=1) / 14)
    per_class, balance = measures.accuracy_per_class(networks), measures.balance(networks)
    for label in range(task.n_classes):
        mine = task.y_test == label
        np.testing.assert_array_equal(per_class[:, label], right[:, mine].sum(axis=1) / mine.sum())
        np.testing.assert_array_equal(balance[:, label], (answers == label).sum(axis=1) / 14)
    z = by_torch(networks, task.x_train)
    for i, label in enumerate(task.y_train):
        others = np.delete(z[:, i], label, axis=1).max(axis=1)
        expected = z[:, i, label] - others
        found = measures.training_margins(networks)[:, i]
        assert np.abs(found - expected).max() <= ROUNDINGS * np.abs(z).max()
    least = measures.training_margins(networks).min(axis=1)
    np.testing.assert_array_equal(measures.margin(networks), least)


def test_ties_go_to_the_lowest_class() -> None:
    networks = networks_of("four classes", 1)
    silent = GivenNetworks(networks.task, networks.steps, 0 * networks.flat)
    np.testing.assert_array_equal(measures.balance(silent), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(measures.accuracy_per_class(silent), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(measures.margin(silent), [0.0])


@pytest.mark.parametrize("name", ["one logit", "four classes", "padded"])
def test_normalized_losses_and_margins(name) -> None:
    networks = networks_of(name, 5)
    task = networks.task
    z, y = torch.tensor(by_torch(networks, task.x_train)), torch.tensor(task.y_train)
    constant, norms = measures.lipschitz(networks), measures.frobenius(networks)
    found = measures.normalized_loss(networks)
    np.testing.assert_array_equal(measures.normalized_loss(networks, constant), found)
    weight_normalized = measures.weight_normalized_loss(networks)
    margins = measures.normalized_margin(networks)
    for i in range(5):
        loss = torch.nn.functional.cross_entropy(z[i] / constant[i], y)
        assert found[i] == pytest.approx(float(loss), rel=ROUNDINGS)
        loss = torch.nn.functional.cross_entropy(z[i] / np.prod(norms[i] / 3.0), y)
        assert weight_normalized[i] == pytest.approx(float(loss), rel=ROUNDINGS)
        assert margins[i] == measures.margin(networks)[i] / constant[i]
    given_constant = measures.normalized_loss(networks, np.full(5, 2.0))
    assert given_constant[0] == pytest.approx(
        float(torch.nn.functional.cross_entropy(z[0] / 2.0, y)), rel=ROUNDINGS
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("whole", [False, True])  # with ties and zeros, or without
def test_gradient_norm(name, whole) -> None:
    networks = networks_of(name, 5, whole=whole)
    task = networks.task
    expected = []
    for flat in networks.flat:
        module = module_of(networks.steps, flat)
        z = torch_logits(module, task.x_train)
        torch.nn.functional.cross_entropy(z, torch.tensor(task.y_train)).backward()
        expected.append(math.sqrt(sum(float((p.grad**2).sum()) for p in module.parameters())))
    # Beside the largest: where all is classified, what is left of the odds is a difference.
    np.testing.assert_allclose(
        measures.gradient_norm(networks), expected, rtol=1e-9, atol=1e-12 * max(expected)
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_norms(name) -> None:
    networks = networks_of(name, 4)
    frobenius, spectral = measures.frobenius(networks), measures.spectral(networks)
    for i, flat in enumerate(networks.flat):
        pairs = [pair for pair in Packing(networks.steps).unpack(flat.astype(float)) if pair]
        matrices = [weight.reshape(len(weight), -1) for weight, _ in pairs]
        expected = [math.sqrt(math.fsum(matrix.ravel() ** 2)) for matrix in matrices]
        np.testing.assert_allclose(frobenius[i], expected, rtol=ROUNDINGS)
        expected = [np.linalg.svd(matrix, compute_uv=False)[0] for matrix in matrices]
        np.testing.assert_allclose(spectral[i], expected, rtol=ROUNDINGS)


def test_columns_give_the_losses_at_every_n() -> None:
    networks = networks_of("four classes", 6, n_train=7)
    task, columns = networks.task, measures.measure_columns(networks)
    logits = given.logits(networks.steps, networks.flat, task.x_train)
    np.testing.assert_array_equal(columns["train_logits"], logits)
    for name, measure in (("lipschitz", measures.lipschitz), ("spectral", measures.spectral)):
        np.testing.assert_array_equal(columns[name], measure(networks))
    np.testing.assert_array_equal(columns["frobenius"], measures.frobenius(networks))
    z, y, constant = columns["train_logits"], task.y_train, columns["lipschitz"]
    for n in (1, 4, 7):
        losses = cross_entropy(z[:, :n] / constant[:, None, None], y[:n])
        np.testing.assert_allclose(
            measures.normalized_loss_at(z, y, constant, n), losses.mean(axis=1), rtol=1e-15
        )
        margins = measures.training_margins(networks)[:, :n].min(axis=1)
        np.testing.assert_array_equal(measures.margin_at(z, y, n), margins)
        found = measures.normalized_margin_at(z, y, constant, n)
        np.testing.assert_array_equal(found, margins / constant)
    whole = measures.normalized_loss_at(z, y, constant, 7)
    np.testing.assert_array_equal(whole, measures.normalized_loss(networks))
    whole = measures.weight_normalized_loss_at(z, y, columns["frobenius"], 7)
    np.testing.assert_array_equal(whole, measures.weight_normalized_loss(networks))
    for n in (0, 8):
        with pytest.raises(UsageError, match=f"n_train is {n}") as error:
            measures.normalized_loss_at(z, y, constant, n)
        assert error.value.why and error.value.fix


def test_columns_of_one_logit_and_of_nothing() -> None:
    networks = networks_of("one logit", 3, n_test=0)
    columns = measures.measure_columns(networks)
    assert columns["train_logits"].shape == (3, 6, 2)
    assert not columns["train_logits"][..., 0].any() and columns["train_logits"][..., 1].all()
    assert np.isnan(columns["lipschitz"]).all()
    none = GivenNetworks(networks.task, networks.steps, networks.flat[:0])
    shapes = {name: column.shape for name, column in measures.measure_columns(none).items()}
    assert shapes == {
        "train_logits": (0, 6, 2), "lipschitz": (0,), "frobenius": (0, 3), "spectral": (0, 3),
    }  # fmt: skip


def test_empty_sets_and_empty_test_sets() -> None:
    networks = networks_of("lenet", 2, n_test=0)
    for measure in (measures.accuracy, measures.accuracy_per_class, measures.balance):
        assert np.isnan(measure(networks)).all()
    assert np.isnan(measures.normalized_loss(networks)).all()
    assert np.isnan(measures.normalized_margin(networks)).all()
    assert np.isfinite(measures.weight_normalized_loss(networks)).all()
    none = GivenNetworks(networks.task, networks.steps, networks.flat[:0])
    for name in measures.__all__:
        if name != "measure_columns" and not name.endswith("_at"):
            arguments = [networks.task.x_train] if name == "input_gradient_norms" else []
            assert len(getattr(measures, name)(none, *arguments)) == 0


def test_cross_entropy_keeps_its_digits() -> None:
    """Against fifty decimal digits, from losses of 1e-300 to 1e4."""
    gaps = np.array([690.0, 40.0, 1.0, 1e-9, 0.0, -1e-9, -1.0, -40.0, -1e4])
    z = np.stack([np.zeros_like(gaps), gaps, gaps - 3.0], axis=1)
    found = cross_entropy(z, np.ones(len(gaps), dtype=np.int64))
    with localcontext() as context:
        context.prec = 50
        for row, value in zip(z, found, strict=True):
            one, *others = Decimal(row[1]), Decimal(row[0]), Decimal(row[2])
            total = sum(((other - one).exp() for other in others), Decimal(0))
            # ln(1 + s) is s to twenty digits where s is small.
            expected = (1 + total).ln() if total > Decimal("1e-20") else total
            assert value == pytest.approx(float(expected), rel=1e-15)


def test_a_loss_without_a_scale_is_no_number() -> None:
    z = np.ones((4, 2, 2))
    found = scaled_loss(z, np.array([0, 1]), np.array([1.0, 0.0, np.nan, np.inf]))
    assert found[0] == pytest.approx(math.log(2.0)) and np.isnan(found[1:]).all()
    assert np.isnan(scaled_loss(z[:, :0], np.zeros(0, np.int64), np.ones(4))).all()


def test_what_is_not_finite_is_named() -> None:
    networks = networks_of("four classes", 5)
    flat = networks.flat.copy()
    flat[3, 0] = np.nan
    networks = GivenNetworks(networks.task, networks.steps, flat)
    for measure in (measures.accuracy, measures.training_margins, measures.measure_columns):
        with pytest.raises(NonFiniteError, match="network 3 of the set") as error:
            measure(networks)
        assert error.value.why and error.value.fix
    assert np.isnan(measures.spectral(networks)[3, 0])
    assert np.isfinite(np.delete(measures.spectral(networks), 3, axis=0)).all()
    assert np.isnan(measures.gradient_norm(networks)[3])


def test_batches_change_no_bit(monkeypatch) -> None:
    networks = networks_of("lenet", 21)
    before = {
        name: getattr(measures, name)(networks)
        for name in ("accuracy", "training_margins", "frobenius", "spectral", "gradient_norm")
    }
    monkeypatch.setattr(batches, "BATCH_BYTES", 5000)
    for name, expected in before.items():
        np.testing.assert_array_equal(getattr(measures, name)(networks), expected)
