"""Each kernel against its twin in NumPy; poisoned and guarded memory; what launching refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu import normal as law_normal
from biasgpu import rng
from biasgpu.architectures import mlp
from biasgpu.deferred.plan import Layer
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.consistency import prefixes
from biasgpu.engines.triton_inputs import Inputs
from biasgpu.kernels import launch, plan, reference
from biasgpu.kernels.workspace import Coefficients, Workspace
from tests.kernel_cases import DEVICE, DeferredCase

SEED = 2**63 + 12345
FIRST = 2**40 + 2**33 - 2
PLACES = [0, 3, 4]
GUARD = 3  # values behind each of a kernel's outputs that nothing may touch


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(DEVICE)


def name() -> torch.Tensor:
    return tensor(np.array([SEED, FIRST], dtype=np.uint64).view(np.int64))


def poisoned(work: Workspace) -> tuple[Workspace, dict[str, torch.Tensor]]:
    """The workspace with NaN in all of it, and a guard behind each part."""
    whole, changes = {}, {}
    for field in dataclasses.fields(work):
        part = getattr(work, field.name)
        if isinstance(part, torch.Tensor):
            whole[field.name] = torch.full(
                (part.numel() + GUARD,), float("nan"), dtype=part.dtype, device=DEVICE
            )
            changes[field.name] = whole[field.name][: part.numel()]
    return dataclasses.replace(work, **changes), whole


def untouched(whole: dict[str, torch.Tensor]) -> bool:
    return all(bool(part[-GUARD:].isnan().all()) for part in whole.values())


def random_coefficients(n_samples: int, n: int, wide: bool) -> np.ndarray:
    random = np.random.default_rng(n_samples)
    c = np.tril(random.normal(size=(n, n_samples, n_samples)))
    return c.astype(np.float64 if wide else np.float32)


LAYERS = {
    "even": Layer(9, False, 128, 0.3, True, 0, 8),
    "odd, inside a group": Layer(9, False, 70, 0.3, True, 48, 8),
    "few, not rectified": Layer(9, False, 5, 0.3, False, 16, 8),
}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("layer", "n_samples"), [
    ("even", 2), ("even", 1), ("odd, inside a group", 5), ("few, not rectified", 3),
])  # fmt: skip
def test_gram(layer: str, n_samples: int, wide: bool) -> None:
    check_gram(LAYERS[layer], n_samples, wide, direction_blocks=64)


def test_gram_of_pairs_of_blocks() -> None:
    check_gram(LAYERS["few, not rectified"], 9, False, direction_blocks=16)


def test_gram_of_chunks() -> None:
    layer = Layer(9, False, 4 * 32 * 9 - 1, 0.3, True, 0, 8)
    assert plan.tiles(layer).chunked(1)
    check_gram(layer, 2, False, direction_blocks=2**25)


def check_gram(layer: Layer, n_samples: int, wide: bool, direction_blocks: int) -> None:
    n, capacity = len(PLACES), 4
    c = random_coefficients(n_samples, n, wide)
    work, whole = poisoned(Workspace.make(n_samples, 2, capacity, wide, DEVICE))
    spread = np.full((n_samples, n_samples, capacity), np.nan, dtype=c.dtype)
    spread[:, :, :n] = np.moveaxis(c, 0, -1)
    coefficients = dataclasses.replace(work.own, values=tensor(spread.reshape(-1)))
    launch.gram(name(), tensor(np.array(PLACES)), layer, direction_blocks, coefficients, work)
    draws = [FIRST + place for place in PLACES]
    gram, square, top = reference.gram(SEED, draws, direction_blocks, layer, c)
    found = work.gram.cpu().numpy().reshape(n_samples, n_samples, capacity)
    lower = np.tril_indices(n_samples)
    lengths = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    for k in range(n):
        scale = (lengths[k][:, None] * lengths[k][None])[lower] + 1e-30
        assert (np.abs(found[..., k] - gram[k])[lower] <= 3e-6 * scale).all()
    assert np.isnan(found[..., n:]).all()
    assert np.isnan(found[np.triu_indices(n_samples, 1)]).all()
    squares = work.square.cpu().numpy()
    assert (squares[:n] > 0.999 * square).all()
    assert np.isnan(squares[n:]).all()
    if plan.tiles(layer).can_die:
        tops = work.top.cpu().numpy().reshape(n_samples, capacity)
        assert np.allclose(tops[:, :n].T, top, rtol=1e-4, atol=1e-4)
        assert np.isnan(tops[:, n:]).all()
    else:
        assert bool(work.top.isnan().all())
    assert untouched(whole)


@pytest.mark.parametrize("bias", ["zero", "prior"])
def test_factor(bias: str) -> None:
    case = DeferredCase(mlp(6, 2, bias=bias), (4,), n_train=4)  # type: ignore[arg-type]
    s, n, capacity = 4, 70, 130
    made, inputs = case.ensemble.plan, Inputs(case.ensemble, case.y_train, DEVICE)
    first = inputs.first_coefficients(s, False)
    c = np.broadcast_to(first.values.cpu().numpy().reshape(s, s), (n, s, s))
    gram, square, top = reference.gram(1, list(range(n)), made.blocks, made.hidden[0], c)
    work, whole = poisoned(Workspace.make(s, 2, capacity, False, DEVICE))
    work.gram.view(s, s, -1)[:, :, :n] = tensor(np.moveaxis(gram, 0, -1))
    work.square[:n] = tensor(square)
    work.top.view(s, -1)[:, :n] = tensor(top.T)
    parameters = inputs.parameters(1, s, False)
    launch.factor(parameters, n, first, work, can_die=True, hidden=True)

    error, limit = (np.broadcast_to(t.cpu().numpy(), (n, s)) for t in (first.error, first.limit))
    unit = np.full(n, first.unit.item())
    values = tuple(parameters.cpu().tolist())
    expected = reference.factor(gram, square, top, error, limit, unit, values)
    lower = np.tril_indices(s)
    found = [
        np.moveaxis(part.cpu().numpy().reshape(s, s, -1), -1, 0)
        for part in (work.root, work.root_error, whole["root"][:0], work.own.values)
        if part.numel()
    ]
    for part, truth in zip(found, (expected[0], expected[1], expected[2]), strict=True):
        for k in range(n):
            assert np.allclose(part[k][lower], truth[k][lower], rtol=1e-5, atol=1e-9)
    assert np.isnan(found[0][n:]).all()
    for part, truth in ((work.own.error, expected[3]), (work.own.limit, expected[4])):
        rows = part.cpu().numpy().reshape(s, -1)[:, :n].T
        assert np.allclose(rows, truth, rtol=1e-4, atol=1e-12)
    assert np.allclose(work.own.unit.cpu().numpy()[:n], expected[5], rtol=1e-9)
    assert untouched(whole)


def test_outputs() -> None:
    for wide, tolerance in ((False, 2.0**-21), (True, 2.0**-46)):
        work, whole = poisoned(Workspace.make(3, 3, 5, wide, DEVICE))
        launch.outputs(name(), tensor(np.array(PLACES)), 3, work)
        found = work.normals.cpu().numpy().reshape(9, 5)
        for k, place in enumerate(PLACES):
            words = rng.words(SEED, FIRST + place, np.arange(3), stream=rng.STREAM_OUTPUTS)
            truth = law_normal.normal(words.reshape(-1)[:9])
            assert np.allclose(found[:, k], truth, rtol=tolerance, atol=0)
        assert np.isnan(found[:, 3:]).all()
        assert untouched(whole)


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
@pytest.mark.parametrize(("wide", "last"), [(False, False), (True, False), (True, True)])
def test_check(n_outputs: int, wide: bool, last: bool) -> None:
    s, n, capacity = 5, 200, 210
    random = np.random.default_rng(n_outputs)
    root = np.tril(random.normal(size=(n, s, s)))
    bound = np.abs(np.tril(random.normal(size=(n, s, s)))) * random.choice([1e-9, 0.05], (n, 1, 1))
    root[:40, 2:] = bound[:40, 2:] = 0.0  # logits that are certainly zero
    root[40:50, 1, 0] = bound[50:60, 2, 1] = np.nan
    normals = random.normal(size=(n, s, n_outputs))
    labels = np.arange(s) % max(2, n_outputs)
    work, whole = poisoned(Workspace.make(s, n_outputs, capacity, wide, DEVICE))
    work.root.view(s, s, -1)[:, :, :n] = tensor(np.moveaxis(root, 0, -1))
    work.root_error.view(s, s, -1)[:, :, :n] = tensor(np.moveaxis(bound, 0, -1))
    work.normals.view(s, n_outputs, -1)[:, :, :n] = tensor(np.moveaxis(normals, 0, -1)).to(
        work.normals.dtype
    )
    places = random.permutation(2 * n)[:n]
    prefix = torch.full((2 * n + GUARD,), 77, dtype=torch.int16, device=DEVICE)
    lists = [torch.full((n + GUARD,), -7, dtype=torch.int64, device=DEVICE) for _ in range(2)]
    counters = [torch.zeros(1, dtype=torch.int64, device=DEVICE) for _ in range(2)]
    launch.check(
        tensor(places), tensor(labels), None, tensor(np.array([2.0**-21])), prefix,
        counters[0], lists[0], counters[1], lists[1], work, n_outputs=n_outputs,
        units_at_first=-1, last=last,
    )  # fmt: skip
    seen = work.normals.view(s, n_outputs, -1)[:, :, :n].cpu().numpy().astype(np.float64)
    tops = reference.tops(root, bound, np.moveaxis(seen, -1, 0), 2.0**-21)
    expected = prefixes(tops, labels, n_outputs, 2)
    assert len(set(expected.tolist())) > 3
    found = prefix.cpu().numpy().view(np.uint16)
    going = np.sort(lists[0].cpu().numpy()[: int(counters[0])])
    unsure = np.sort(lists[1].cpu().numpy()[: int(counters[1])])
    is_going = (expected == s) & (not last)
    is_unsure = (expected == BORDERLINE) & (not wide)
    assert going.tolist() == np.sort(places[is_going]).tolist()
    assert unsure.tolist() == np.sort(places[is_unsure]).tolist()
    stated = ~is_going & ~is_unsure
    assert found[places[stated]].tolist() == expected[stated].tolist()
    others = np.setdiff1d(np.arange(2 * n + GUARD), places[stated])
    assert (found[others] == 77).all()
    assert all(
        (part[int(count) :] == -7).all() for part, count in zip(lists, counters, strict=True)
    )
    assert untouched(whole)


@pytest.mark.parametrize("head", ["logits", "one-logit"])
@pytest.mark.parametrize("offsets", [1, 2])
def test_what_is_rejected_errs_at_sample_1(head: str, offsets: int) -> None:
    """By the law; and about half of all draws are rejected."""
    architecture = mlp(20, offsets, head=head)  # type: ignore[arg-type]
    case = DeferredCase(architecture, (4,), n_train=2, first_draw=FIRST, n_draws=333, seed=SEED)
    rule = Inputs(case.ensemble, case.y_train, DEVICE).early_rule()
    assert rule is not None
    n = case.n_draws
    prefix = torch.full((n + GUARD,), 77, dtype=torch.int16, device=DEVICE)
    places = torch.full((n + GUARD,), -7, dtype=torch.int64, device=DEVICE)
    counter = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    launch.reject(name(), rule, prefix, counter, places, n=n, n_outputs=case.ensemble.n_outputs)
    found, law = prefix.cpu().numpy(), case.law()
    rejected = np.flatnonzero(found[:n] == 1)
    assert (law[rejected] == 1).all()
    assert 0.3 * n < len(rejected) < 0.6 * n
    left = np.sort(places.cpu().numpy()[: int(counter)])
    assert left.tolist() == np.flatnonzero(found[:n] == 77).tolist()
    assert (found[n:] == 77).all()
    assert (places[int(counter) :] == -7).all()


def test_launching_refuses_what_does_not_fit() -> None:
    work = Workspace.make(2, 2, 4, False, DEVICE)
    draws, layer = tensor(np.arange(3)), LAYERS["even"]

    def refused(message: str, coefficients: Coefficients = work.own, n: int = 3) -> None:
        with pytest.raises(ValueError, match=message):
            launch.gram(name(), tensor(np.arange(n)), layer, 64, coefficients, work)

    refused("draws", n=5)
    refused("draws", n=0)
    refused("values is", dataclasses.replace(work.own, values=work.own.values.double()))
    refused("values holds", dataclasses.replace(work.own, values=work.own.values[:-1]))
    refused("error is", dataclasses.replace(work.own, error=work.own.error.float()))
    refused("limit is", dataclasses.replace(work.own, limit=torch.ones(16, device=DEVICE)[::2]))
    with pytest.raises(ValueError, match="name is"):
        launch.gram(name().int(), draws, layer, 64, work.own, work)
    with pytest.raises(ValueError, match="room for"):
        Workspace.make(2**15, 2, 4, False, DEVICE)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="there is a GPU")
def test_kernels_do_not_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="kernels run on a GPU"):
        launch.outputs(name(), tensor(np.arange(3)), 2, Workspace.make(2, 2, 4, False, DEVICE))
