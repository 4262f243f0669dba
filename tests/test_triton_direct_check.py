"""The check of method "direct": prefixes, lists and states, against its twin."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu.engines.base import BORDERLINE
from biasgpu.kernels import direct_launch as launch
from biasgpu.kernels import direct_plan as plan
from biasgpu.kernels import direct_reference as reference
from biasgpu.kernels.direct_launch import Activations
from tests.direct_cases import names, tensor
from tests.kernel_cases import DEVICE


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_decisions(outputs: int, last: bool) -> None:
    rng_ = np.random.default_rng(outputs)
    n, stage = 130, plan.Stage(0, 4)
    labels = np.arange(4) % max(2, outputs)
    logits = rng_.normal(size=(n, 4, outputs)) + 1.5 * np.eye(max(2, outputs))[labels][:, :outputs]
    errors = 0.1 * rng_.exponential(size=logits.shape)
    logits[:9, 1] = errors[:9, 1] = 0.0  # a tie
    logits[9, 0, 0], errors[10, 0, 0], logits[11, 0, 0] = np.nan, np.nan, np.inf
    errors[12] = np.inf
    programs = -(-n // plan.BLOCK)
    padded = np.full((2, programs * plan.BLOCK, 4, outputs), np.nan, dtype=np.float32)
    padded[0, :n], padded[1, :n] = logits, errors
    parts = padded.reshape(2, programs, plan.BLOCK, 4, outputs).transpose(0, 1, 3, 4, 2)
    values, bounds = (tensor(part.copy().ravel()) for part in parts)
    prefix = torch.full((n + 5,), 77, dtype=torch.int16, device=DEVICE)

    def lists() -> tuple[torch.Tensor, ...]:
        counter = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        return counter, *(torch.full((n,), -7, dtype=torch.int64, device=DEVICE) for _ in "ab")

    going, unsure = lists(), lists()
    logits_ = Activations(values, bounds, bounds[:0], shared=False)
    launch.decide(
        names(n), tensor(labels.astype(np.int64)), logits_, prefix, going, unsure, stage,
        n_outputs=outputs, last=last,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        expected = reference.decide(
            logits.astype(np.float32).astype(np.float64),
            errors.astype(np.float32).astype(np.float64), labels, 2,
        )  # fmt: skip
    found = prefix.cpu().numpy().view(np.uint16)
    assert (found[n:] == 77).all()
    on = np.flatnonzero(expected == 4)
    open_ = np.flatnonzero(expected == BORDERLINE)
    assert len(on) and len(open_) > 3 and len(set(expected.tolist())) > 3
    listed, open_listed = (sorted(part[1][: part[0]].tolist()) for part in (going, unsure))
    assert open_listed == open_.tolist()
    assert listed == ([] if last else on.tolist())
    unstated = set(open_.tolist()) | (set() if last else set(on.tolist()))
    for place in range(n):
        assert found[place] == (77 if place in unstated else expected[place]), place
    for count, places, states in (going, unsure):
        assert (places[count:] == -7).all() and (states[count:] == -7).all()
    if outputs == 3 and not last:  # a state says which unit answers to which class
        for place, state in zip(going[1].tolist(), going[2].tolist(), strict=True):
            if place >= 9:
                best = np.argmax(logits[place], axis=1)
                assert [state >> 4 * c & 15 for c in range(3)] == best[:3].tolist()
                break


def test_a_state_goes_on_from_stage_to_stage() -> None:
    """Class 0 is unit 1's: a sample of class 0 that excites unit 0 is an error, and class 1's is
    not."""
    for label, expected in ((0, 5), (1, 6)):
        logits = np.zeros((2, 1, 2, plan.BLOCK), dtype=np.float32)
        logits[:, 0, 0] = 1.0
        values = tensor(logits.ravel())
        flat = Activations(values, torch.zeros_like(values), values[:0], shared=False)
        prefix = torch.zeros(1, dtype=torch.int16, device=DEVICE)
        empty = tuple(torch.zeros(1, dtype=torch.int64, device=DEVICE) for _ in range(3))
        labels = tensor(np.full(6, label, dtype=np.int64))
        state = (-1 & ~15) | 1
        launch.decide(
            names(1, state), labels, flat, prefix, empty, empty, plan.Stage(5, 1), n_outputs=2,
            last=True,
        )  # fmt: skip
        assert prefix.item() == expected
