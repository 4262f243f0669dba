"""Prefixes left where an engine wrote them are counted and listed as those on the host are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import biasgpu
from biasgpu import curve
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.screened import HostScreened, JoinedScreened, Screened
from biasgpu.errors import ResourceError
from biasgpu.sampling.pace import MAX_DRAWS, Pace
from biasgpu.sampling.stopping import cut, cut_at

pytest.importorskip("triton", reason="triton is not installed")

import torch

from biasgpu.engines import triton_screened
from biasgpu.engines.split import SplitEngine
from biasgpu.engines.triton_screened import DeviceScreened
from tests.direct_cases import CASES
from tests.kernel_cases import DEVICE


def _prefixes(n_train: int, n: int) -> npt.NDArray[np.uint16]:
    """Short ones mostly, a few of every size, and borderline ones."""
    rng = np.random.default_rng(n_train)
    found = np.minimum(rng.geometric(0.5, n) - 1, n_train)
    some = rng.random(n) < 0.2
    found[some] = rng.integers(0, n_train + 1, some.sum())
    found[rng.random(n) < 0.05] = BORDERLINE
    found[:3] = n_train, 0, BORDERLINE
    return found.astype(np.uint16)


def _on_device(prefixes: npt.NDArray[np.uint16], n_train: int) -> Screened:
    return DeviceScreened(torch.from_numpy(prefixes.view(np.int16).copy()).to(DEVICE), n_train)


def _made(kind: str, prefixes: npt.NDArray[np.uint16], n_train: int) -> Screened:
    if kind == "device":
        return _on_device(prefixes, n_train)
    if kind == "host":
        return HostScreened(prefixes.copy(), n_train)
    cuts = [0, 3, 3, len(prefixes) // 2, len(prefixes)]
    parts = [prefixes[a:b] for a, b in pairwise(cuts)]
    return JoinedScreened([_on_device(part, n_train) for part in parts], n_train)


@pytest.mark.parametrize("kind", ["host", "device", "joined"])
@pytest.mark.parametrize("n_train", [1, 16, 0x7FFE, 0x7FFF, 0x8000, 0xFFFE])
def test_counts_and_lists(kind: str, n_train: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_screened, "PART", 64)
    given = _prefixes(n_train, 200)
    found = _made(kind, given, n_train)
    assert (len(found), found.n_train) == (200, n_train)
    assert found.prefixes().tolist() == given.tolist()
    for end in (None, 200, 150, 64, 3, 1, 0):
        exact = given[:end][given[:end] != BORDERLINE]
        counts = found.counts(end)
        assert (counts.dtype, counts.shape) == (np.int64, (n_train + 1,))
        assert counts.tolist() == np.bincount(exact, minlength=n_train + 1).tolist()
    for least in {0, 1, 2, n_train // 2, n_train - 1, n_train, 0x7FFF, 0x8000, BORDERLINE}:
        places, prefixes = found.at_least(least)
        right = np.flatnonzero(given >= least)
        assert (places.dtype, prefixes.dtype) == (np.int64, np.uint16)
        assert places.tolist() == right.tolist(), least
        assert prefixes.tolist() == given[right].tolist()
    unsure = np.flatnonzero(given == BORDERLINE)
    decided = (unsure % (n_train + 1)).astype(np.uint16)
    found.decide(unsure, decided)
    assert not len(found.at_least(BORDERLINE)[0])
    right = given.copy()
    right[unsure] = decided
    assert found.prefixes().tolist() == right.tolist()
    assert found.counts().sum() == 200


def test_nothing_at_all() -> None:
    nothing = np.empty(0, np.uint16)
    for found in (_on_device(nothing, 4), JoinedScreened([], 4), HostScreened(nothing, 4)):
        assert len(found) == 0
        assert found.counts().tolist() == [0] * 5
        assert [part.tolist() for part in found.at_least(0)] == [[], []]
        assert found.prefixes().dtype == np.uint16


def test_what_is_kept_is_known_from_survivors_alone() -> None:
    """Rows and cuts are those of all prefixes, whatever was found before."""
    rng = np.random.default_rng(0)
    points = (2, 4, 6, 8)
    for _ in range(50):
        prefixes = np.minimum(rng.geometric(0.4, 300) - 1, 8).astype(np.uint16)
        before = rng.integers(0, 60, 9)
        wanted = int(rng.integers(0, 120))
        least = curve.least_kept(points, before, wanted)
        places = np.flatnonzero(prefixes >= least)
        kept = curve.kept_rows(prefixes[places], points, before, wanted)
        assert places[kept].tolist() == curve.kept_rows(prefixes, points, before, wanted).tolist()
        fits = places[prefixes[places] == 8]
        for left in (None, 1, 2, len(fits), len(fits) + 1):
            assert cut_at(fits, 300, left) == cut(prefixes, 8, left)
    assert curve.least_kept((2, 4), np.array([0, 0, 9, 0, 0]), 9) == 4
    assert curve.least_kept((2, 4), np.array([0, 0, 8, 0, 0]), 9) == 2


def test_a_run_brings_survivors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run by an engine on a device, whose prefixes are never copied as a whole."""
    task, net = biasgpu.task("slab", n_train=4), biasgpu.mlp(2, 1, bias="prior")
    stop: dict[str, Any] = {"fits": 5, "curve_fits": 3, "seed": 3}
    right = biasgpu.sample(task, net, "uniform", engine="reference", **stop)
    listed = []
    at_least = DeviceScreened.at_least

    def counted(self: DeviceScreened, prefix: int) -> Any:
        found = at_least(self, prefix)
        listed.append((len(self), prefix, len(found[0])))
        return found

    monkeypatch.setattr(DeviceScreened, "at_least", counted)
    monkeypatch.setattr(DeviceScreened, "prefixes", lambda _: pytest.fail("all came back"))
    found = biasgpu.sample(task, net, "uniform", engine="triton", **stop)
    assert found.n_draws == right.n_draws  # cut right after the last fit
    assert found.prefix_counts.tolist() == right.prefix_counts.tolist()
    assert found.fits.index.tolist() == right.fits.index.tolist()
    assert found.fits.prefix.tolist() == right.fits.prefix.tolist()
    assert all(prefix == BORDERLINE or prefix >= 2 for _, prefix, _ in listed)
    assert any(n < total / 2 for total, _, n in listed)


def test_several_devices_are_counted_each_by_itself() -> None:
    case = CASES["points"]
    parts = [case.engine(), case.engine()]
    split = SplitEngine(parts)
    split._pool = ThreadPoolExecutor(1)  # the interpreter knows one kernel at a time
    found = split.screened(case.first_draw, 64)
    assert isinstance(found, JoinedScreened) and found.on_host is None
    law = case.law()
    assert found.counts().tolist() == np.bincount(law, minlength=case.n_train + 1).tolist()
    assert found.at_least(2)[0].tolist() == np.flatnonzero(law >= 2).tolist()
    assert split.maximum == 2 * parts[0].maximum > Pace(1).next()
    prepared = list[str]()
    for name, part in zip("ab", parts, strict=True):
        part.prepare = lambda name=name: prepared.append(name)  # type: ignore[method-assign]
    split.begin()
    assert prepared == ["a", "b"]  # one after the other
    split.close()


def test_batches_grow_as_far_as_an_engine_allows() -> None:
    for maximum in (1 << 10, 1 << 23, 1 << 27):
        pace, sizes = Pace(64, maximum=maximum), list[int]()
        for _ in range(20):
            sizes.append(pace.next())
            pace.measured(sizes[-1], 1e-6)
        assert sizes[-1] == maximum
    assert CASES["points"].engine().maximum == triton_screened.MOST == MAX_DRAWS


def test_lists_that_do_not_fit_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(CASES["points"], n_draws=150)
    monkeypatch.setattr(triton_screened, "LEAST_CALL", 16)
    engine, limit = case.engine(), 50
    names = engine.names

    def scarce(first_draw: int, n: int) -> Any:
        if n > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")
        return names(first_draw, n)

    monkeypatch.setattr(engine, "names", scarce)
    engine._most = 128
    assert engine.screen(case.first_draw, 150).tolist() == case.law().tolist()
    assert engine.notice.endswith("32 draws at a time")
    limit = 8
    with pytest.raises(ResourceError, match="memory of .* is full") as caught:
        engine.screen(0, 100)
    assert caught.value.why and caught.value.fix
