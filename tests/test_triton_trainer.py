"""The triton trainer: its plan, its kernel against the law, what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch
import triton
import triton.language as tl

from biasgpu import priors
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.ensemble import Ensemble
from biasgpu.errors import UsageError
from biasgpu.kernels import train_launch, train_look, train_plan
from biasgpu.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Shape
from biasgpu.packing import Packing
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers import make
from biasgpu.training.trainers.reference import ReferenceTrainer
from biasgpu.training.trainers.triton import TritonTrainer, unsupported
from tests.kernel_cases import DEVICE
from tests.strategies import Lopsided

GUARD = 5


@dataclass(frozen=True)
class Case:
    """Networks, samples and a recipe: small, for the interpreter is slow."""

    layers: tuple[Layer, ...]
    shape: Shape
    recipe: Recipe
    prior: str = "kaiming-uniform"
    n_classes: int = 2
    one_logit: bool = False
    n_train: int = 3
    constant: bool = False  # all elements of a sample are the same

    @property
    def arguments(self) -> tuple[Ensemble, npt.NDArray[np.float32], npt.NDArray[np.int64], Recipe]:
        head = "one-logit" if self.one_logit else "logits"
        net = Architecture("case", self.layers, head, bias="prior")
        ensemble = Ensemble(net, priors.make(self.prior), self.shape, self.n_classes, 2**63 + 5)
        x = np.random.default_rng(1).normal(size=(self.n_train, *self.shape)).astype(np.float32)
        if self.constant:
            x[:] = x[:, :1, :1, :1]
        return ensemble, x, np.arange(self.n_train) % self.n_classes, self.recipe


CASES = {
    "padded convolution, momentum": Case(
        (Conv2d(2, "prior", kernel=3, padding=1), ReLU(), MaxPool2d(2), Flatten(), Dense(3)),
        (1, 4, 4), Recipe("momentum", 0.05, 2, 2, keep_epochs=(0, 1)), n_classes=3,
    ),
    "two convolutions, pooling that cuts": Case(
        (ReLU(), Conv2d(2, kernel=2), MaxPool2d(2), ReLU(), Conv2d(2, kernel=2, padding=1), ReLU()),
        (2, 4, 6), Recipe("sgd", 0.05, 8, 2), "uniform8",
    ),
    "one logit, normal weights, Adam": Case(
        (MaxPool2d(2, images_only=True), Dense(4), ReLU(), Dense(3), ReLU()),
        (5,), Recipe("adam", 0.05, 2, 2), "kaiming-normal", one_logit=True,
    ),
    "windows of two sizes": Case(
        (Conv2d(2, kernel=3, padding=1), Conv2d(1, kernel=2), ReLU(), Conv2d(2, kernel=1)),
        (1, 3, 3), Recipe("sgd", 0.1, 2, 1),
    ),
    "windows full of ties": Case(
        (Conv2d(2, kernel=2), MaxPool2d(2)), (1, 3, 3), Recipe("sgd", 0.1, 3, 1), constant=True
    ),
    "nothing but logits": Case((MaxPool2d(3),), (1, 4, 3), Recipe("sgd", 0.1, 1, 1), "uniform16"),
}  # fmt: skip


def _draws(n: int) -> npt.NDArray[np.uint64]:
    return np.uint64(2**40) + np.arange(n, dtype=np.uint64)


# --- the plan ----------------------------------------------------------------------------------


def _steps(architecture: Architecture) -> Any:
    return Ensemble(architecture, priors.make("uniform"), (1, 28, 28), 2, 0).steps


def test_plan_of_a_lenet() -> None:
    steps = _steps(lenet("2/6"))
    plan = train_plan.make(steps, 2, "momentum")
    kinds = [op.kind for op in plan.operations]
    assert kinds == [0, 1, 2, 1, 2, 1, 1, 1]
    assert [op.rectified for op in plan.operations] == [0, 1, 0, 1, 0, 1, 1, 0]
    assert [op.passes_on for op in plan.operations] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert plan.n_parameters == Packing(steps).n_parameters and plan.n_states == 1
    sizes = 784 + 2 * 24 * 24 + 2 * 12 * 12 + 5 * 8 * 8 + 5 * 4 * 4 + 40 + 28 + 2
    assert plan.n_values == 2 * sizes
    assert (plan.window, plan.padded) == (5, False)
    assert plan.bytes_per_program == 4 * 8 * (2 * plan.n_parameters + 2 * 2 * sizes)
    # Buffers follow each other without a gap; each operation reads what the last one wrote.
    for before, op in zip(plan.operations, plan.operations[1:], strict=False):
        assert op.in_at == before.out_at
        assert op.out_at == before.out_at + 2 * before.units * before.out_height * before.out_width
    assert train_plan.multiplications(plan, 2) == 2 * (
        2 * 2 * 576 * 25 + 3 * 5 * 64 * 50 + 3 * (80 * 40 + 40 * 28 + 28 * 2)
    )
    assert train_plan.trips(plan, 2) == 4735  # what docs/gpu.md predicts from


@pytest.mark.parametrize("net", [mlp(64, 2), paper_mlp("2/6"), lenet("1/6,1/6,1/24,1/24")], ids=str)
def test_plans_count_every_parameter_once(net: Architecture) -> None:
    plan = train_plan.make(_steps(net), 3, "sgd")
    weights = [op for op in plan.operations if op.kind == train_plan.LINEAR]
    places: list[int] = []
    for op in weights:
        n = op.units * op.channels * op.kernel**2
        assert op.bias_at == op.weight_at + n
        places += range(op.weight_at, op.bias_at + op.units)
    assert places == list(range(plan.n_parameters))
    assert train_plan.trips(plan, 3) * train_plan.ELEMENTS >= train_plan.multiplications(plan, 3)


@pytest.mark.parametrize(
    ("kernels", "padding", "window"), [((), 0, 1), ((3, 1, 3), 1, 3), ((3, 2), 0, 0)]
)
def test_the_compiler_is_told_what_all_convolutions_share(
    kernels: tuple[int, ...], padding: int, window: int
) -> None:
    layers = [Conv2d(2, kernel=kernel, padding=padding) for kernel in kernels]
    plan = train_plan.make(_steps(Architecture("convolutions", layers)), 2, "sgd")
    assert (plan.window, plan.padded) == (window, padding > 0)


def test_plans_refuse_what_32_bits_do_not_number() -> None:
    with pytest.raises(ValueError, match="networks take"):
        train_plan.make(_steps(mlp(8192, 3)), 2, "adam")


# --- the kernel --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_follows_the_law(case: str) -> None:
    arguments, draws = CASES[case].arguments, _draws(3)
    found = TritonTrainer(*arguments).train(draws)
    right = ReferenceTrainer(*arguments).train(draws)
    assert found.weights.shape == right.weights.shape
    assert np.array_equal(found.epochs, right.epochs)
    # A hundredth of a step of these recipes at most, after up to six; they move by 0.05 and more.
    assert np.abs(found.weights - right.weights).max() < 1e-5
    start = [
        Packing(arguments[0].steps).pack(arguments[0].parameters(draw)) for draw in draws.tolist()
    ]
    assert np.abs(right.weights[:, -1] - np.stack(start)).max() > 0.02
    if 0 in arguments[3].keep_epochs:
        assert np.array_equal(found.weights[:, 0], np.stack(start))  # canonical, to the bit


@pytest.mark.parametrize(
    ("case", "epochs"), [("nothing but logits", 4), ("one logit, normal weights, Adam", 4)]
)
def test_stops_early_and_measures_gradients_as_the_law(case: str, epochs: int) -> None:
    ensemble, x, y, plain = CASES[case].arguments
    recipe = replace(plain, epochs=epochs, keep_epochs=(0, 2), stop_early=True)
    arguments, draws = (ensemble, x, y, recipe), _draws(8)
    found = TritonTrainer(*arguments, gradient_norms=True).train(draws)
    right = ReferenceTrainer(*arguments, gradient_norms=True).train(draws)
    assert found.epochs.tolist() == right.epochs.tolist()
    assert {1, epochs} <= {*found.epochs.tolist()}
    assert np.abs(found.weights - right.weights).max() < 1e-5
    assert found.gradient_norms is not None and right.gradient_norms is not None
    # NaN after a network stopped; sums of less than a hundred terms in float32, after some steps.
    np.testing.assert_allclose(found.gradient_norms, right.gradient_norms, rtol=1e-4)
    # Looks change nothing: to the bit what training to that epoch gives.
    alone = TritonTrainer(*arguments).train(draws)
    assert np.array_equal(alone.weights, found.weights) and alone.gradient_norms is None
    assert np.array_equal(alone.epochs, found.epochs)
    short = TritonTrainer(ensemble, x, y, replace(plain, epochs=1)).train(draws).weights[:, -1]
    stopped = found.epochs == 1
    assert np.array_equal(found.weights[stopped, 1:], short[stopped, None].repeat(2, axis=1))


def test_gradient_norms_without_stopping() -> None:
    ensemble, x, y, plain = CASES["windows of two sizes"].arguments
    found = TritonTrainer(ensemble, x, y, plain, gradient_norms=True).train(_draws(2))
    right = ReferenceTrainer(ensemble, x, y, plain, gradient_norms=True).train(_draws(2))
    assert found.gradient_norms is not None and right.gradient_norms is not None
    np.testing.assert_allclose(found.gradient_norms, right.gradient_norms, rtol=1e-4)
    assert np.abs(found.weights - right.weights).max() < 1e-5


@triton.jit
def _classified_kernel(
    row_ptr, label_ptr, order_ptr, acts_ptr, out_ptr, n, n_outputs, G: tl.constexpr
):
    right = train_look.classified(row_ptr, label_ptr, order_ptr, acts_ptr, n, n_outputs, G)
    tl.store(out_ptr + tl.arange(0, G), right)


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_fits_are_the_laws(n_outputs: int) -> None:
    """Ties, infinities and NaN among them: every pair of a label and logits of few values."""
    values = np.array([-1.0, 0.0, 1.0, np.inf, np.nan], np.float32)
    logits = np.stack(np.meshgrid(*[values] * n_outputs), axis=-1).reshape(-1, n_outputs)
    logits = np.resize(logits, (-(-len(logits) // 8), 8, n_outputs))
    full = np.concatenate([np.zeros_like(logits), logits], axis=2) if n_outputs == 1 else logits
    for label in range(full.shape[2]):
        row = torch.zeros(19, dtype=torch.int32, device=DEVICE)
        labels = torch.tensor([0, label], dtype=torch.int32, device=DEVICE)
        order = torch.ones(1, dtype=torch.int32, device=DEVICE)
        for group, whole in zip(logits, full, strict=True):
            acts = torch.from_numpy(np.ascontiguousarray(group.T)).to(DEVICE)
            out = torch.empty(8, dtype=torch.int32, device=DEVICE)
            run: Any = _classified_kernel[(1,)]  # G is a number out here
            run(row, labels, order, acts, out, 1, n_outputs, G=8)
            finite = np.isfinite(whole).all(axis=1)
            best = np.where(finite, np.nan_to_num(whole).argmax(axis=1), -1)
            assert out.tolist() == (best == label).tolist()


def test_bits_do_not_depend_on_company() -> None:
    arguments = CASES["nothing but logits"].arguments
    trainer = TritonTrainer(*arguments)
    together = trainer.train(_draws(11)).weights
    for k in (0, 10):
        assert np.array_equal(trainer.train(_draws(11)[k : k + 1]).weights[0], together[k])
    small = TritonTrainer(*arguments, memory_bytes=1)
    assert np.array_equal(small.train(_draws(11)).weights, together)
    assert trainer.train(_draws(0)).weights.shape == (0, *together.shape[1:])


def test_reads_and_writes_nothing_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = CASES["padded convolution, momentum"].arguments
    right = TritonTrainer(*arguments).train(_draws(8)).weights
    whole: list[torch.Tensor] = []

    def poisoned(n: int, **options: Any) -> torch.Tensor:
        whole.append(torch.full((n + GUARD,), float("nan"), **options))
        return whole[-1][:n]

    monkeypatch.setattr(torch, "empty", poisoned)
    assert np.array_equal(TritonTrainer(*arguments).train(_draws(8)).weights, right)
    assert len(whole) == 2 and all(bool(part[-GUARD:].isnan().all()) for part in whole)


# --- refusals ----------------------------------------------------------------------------------


class Negate(Layer):
    def out_shape(self, shape: Shape) -> Shape:
        return shape


def test_says_what_it_does_not_take() -> None:
    ensemble, x, y, recipe = CASES["nothing but logits"].arguments
    assert unsupported(ensemble, recipe) is None
    own = Ensemble(ensemble.architecture, Lopsided(), ensemble.shape, 2, 0)
    assert "test-lopsided" in str(unsupported(own, recipe))
    odd = Ensemble(Architecture("odd", [Negate()]), ensemble.prior, ensemble.shape, 2, 0)
    assert "Negate" in str(unsupported(odd, recipe))
    with pytest.raises(UsageError, match="Negate"):
        make("triton", odd, x, y, recipe)


def test_launching_checks_what_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = CASES["nothing but logits"].arguments
    seen: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        "biasgpu.training.trainers.triton.train_groups",
        lambda *tensors, **options: seen.append((tensors, options)),
    )
    TritonTrainer(*arguments).train(_draws(8))
    (((inputs, *rest), options),) = seen
    assert inputs.name.device == DEVICE
    for field, tensor in inputs._asdict().items():
        for wrong in (tensor.to(torch.float16), tensor[..., :-1]):
            with pytest.raises(ValueError):
                train_launch.train_groups(inputs._replace(**{field: wrong}), *rest, **options)
    for place, tensor in enumerate(rest):
        for wrong in (tensor.to(torch.float16), tensor[:-1]):
            with pytest.raises(ValueError):
                tensors = (*rest[:place], wrong, *rest[place + 1 :])
                train_launch.train_groups(inputs, *tensors, **options)
    for change in ({"batch_size": 0}, {"batch_size": 4}, {"bits": 4}, {"bits": 8, "normal": True}):
        with pytest.raises(ValueError):
            train_launch.train_groups(inputs, *rest, **{**options, **change})
