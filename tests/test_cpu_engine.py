"""The cpu engine's prefixes are a function of names alone: threads, stages, cuts change nothing."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import biasgpu.margins
import biasgpu.normal
import biasgpu.reference
import biasgpu.rng
from biasgpu import priors
from biasgpu.architectures import Architecture, lenet, mlp
from biasgpu.engines.base import BORDERLINE
from biasgpu.engines.cpu import digest, screen
from biasgpu.engines.cpu.engine import CpuEngine, stage_ends
from biasgpu.engines.reference import ReferenceEngine
from biasgpu.ensemble import Ensemble
from biasgpu.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from biasgpu.sampling.screening import screen as decided
from tests.strategies import strokes

N = 70  # draws: four full tiles of lanes and a part of one
PADDED = [
    Conv2d(3, "prior", kernel=3, padding=1), ReLU(), MaxPool2d(2),
    Conv2d(2, kernel=2, padding=2), MaxPool2d(3), ReLU(), Flatten(), Dense(5, "prior"), ReLU(),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    architecture: Architecture
    prior: str
    shape: tuple[int, ...]
    n_classes: int
    n_train: int
    first_draw: int
    seed: int

    @property
    def ensemble(self) -> Ensemble:
        prior = priors.make(self.prior)
        return Ensemble(self.architecture, prior, self.shape, self.n_classes, self.seed)

    @property
    def inputs(self) -> npt.NDArray[np.float32]:
        if self.shape == (1, 28, 28):
            return strokes(self.n_train)
        rng = np.random.default_rng(3)
        return rng.normal(size=(self.n_train, *self.shape)).astype(np.float32)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.arange(self.n_train) % self.n_classes

    def engine(self, *, threads: int | None = None, stages: list[int] | None = None) -> CpuEngine:
        plan = None if stages is None else np.array(stages)
        return CpuEngine(self.ensemble, self.inputs, self.labels, threads=threads, stages=plan)


CASES = {
    "lenet": Case(lenet("1/6"), "uniform", (1, 28, 28), 2, 8, 2**40 + 2**33 - 20, 2**40 + 3),
    "normal": Case(mlp(8, 2), "kaiming-normal", (5,), 2, 7, 2**62 - 9, 2**64 - 1),
    "three classes": Case(mlp(6, 1, bias="prior"), "uniform:0.2", (4,), 3, 6, 2**41, 2**32),
    "one logit": Case(
        mlp(4, 1, head="one-logit", bias="prior"), "uniform8", (2,), 2, 5, 2**63 - N, 2**33 + 7
    ),
    "padded": Case(Architecture("padded", PADDED), "uniform16", (2, 7, 6), 3, 6, 2**40, 2**50),
    "dead": Case(mlp(2, 2), "kaiming-uniform8", (3,), 2, 4, 2**50, 2**63),
}


@cache
def law(name: str) -> npt.NDArray[np.uint16]:
    case = CASES[name]
    reference = ReferenceEngine(case.ensemble, case.inputs, case.labels)
    return reference.screen(case.first_draw, N)


def check(engine: CpuEngine, name: str, start: int = 0, n: int = N) -> None:
    """What the engine states is the law's, and with the borderline draws decided it is all."""
    first, expected = CASES[name].first_draw + start, law(name)[start : start + n]
    stated = engine.screen(first, n)
    sure = stated != BORDERLINE
    assert (stated.dtype, stated.shape) == (np.uint16, (n,))
    assert stated[sure].tolist() == expected[sure].tolist()
    prefixes, borderline = decided(engine, first, n, threads=1)
    assert prefixes.tolist() == expected.tolist()
    assert borderline.tolist() == np.flatnonzero(~sure).tolist()


def plans(n_train: int) -> list[list[int]]:
    return [
        [n_train],
        list(range(1, n_train + 1)),
        [1, n_train],
        [n_train - 1, n_train],
        [*range(3, n_train, 3), n_train],
        stage_ends(n_train).tolist(),
        stage_ends(n_train, costly_weights=True).tolist(),
    ]


@pytest.mark.parametrize("name", CASES)
def test_cases_are_worth_their_while(name: str) -> None:
    assert len(set(law(name).tolist())) > 2
    assert (CASES[name].engine().screen(CASES[name].first_draw, N) != BORDERLINE).mean() > 0.5


@pytest.mark.parametrize("name", CASES)
def test_stage_plans_change_nothing(name: str) -> None:
    for stages in plans(CASES[name].n_train):
        engine = CASES[name].engine(threads=1, stages=stages)
        check(engine, name)
        engine.close()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_threads_and_chunks_change_nothing(
    name: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CASES[name].engine(threads=threads)
    assert engine.chunk % 16 == 0
    assert engine.granularity == threads * engine.chunk
    check(engine, name)
    for chunk in (1, 7, 16, 33, 64):
        monkeypatch.setattr(CpuEngine, "chunk", chunk)
        check(engine, name)
    engine.close()


@pytest.mark.parametrize("name", CASES)
def test_ranges_may_be_of_any_size(name: str) -> None:
    engine = CASES[name].engine(threads=2)
    for n in (0, 1, 15, 16, 17, 31, 33):
        for start in (0, 5, N - n):
            check(engine, name, start, n)
    engine.close()


@pytest.mark.parametrize("name", ["normal", "one logit", "padded"])
def test_ranges_may_be_cut_anywhere(name: str) -> None:
    engine, first = CASES[name].engine(threads=1), CASES[name].first_draw
    for cut in range(35):
        parts = [engine.screen(first + a, b - a) for a, b in pairwise((0, cut, 35))]
        found, expected = np.concatenate(parts), law(name)[:35]
        sure = found != BORDERLINE
        assert found[sure].tolist() == expected[sure].tolist()
    engine.close()


def test_stage_plans() -> None:
    assert stage_ends(2).tolist() == [2]
    assert stage_ends(3).tolist() == [2, 3]
    assert stage_ends(40).tolist() == [2, 4, 8, 16, 32, 40]
    assert stage_ends(70).tolist() == [2, 4, 8, 16, 32, 48, 64, 70]
    assert stage_ends(40, costly_weights=True).tolist() == [4, 8, 16, 32, 40]
    assert stage_ends(1, costly_weights=True).tolist() == [1]


# --- the key of the machine code on disk --------------------------------------------------------


def fresh_digest() -> int:
    return digest.source_digest.__wrapped__()


def test_the_digest_changes_with_every_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cpu"
    shutil.copytree(Path(digest.__file__).parent, folder)
    monkeypatch.setattr(digest, "__file__", str(folder / "digest.py"))
    files = sorted(folder.glob("*.py"))
    for module in (biasgpu.margins, biasgpu.normal, biasgpu.reference, biasgpu.rng):
        files.append(Path(shutil.copy(str(module.__file__), tmp_path)))
        monkeypatch.setattr(module, "__file__", str(files[-1]))
    before = fresh_digest()
    assert before == digest.source_digest()
    assert len(files) > 12
    for file in files:
        text = file.read_bytes()
        file.write_bytes(text + b"#")
        assert fresh_digest() != before, file
        file.write_bytes(text)
    (folder / "another.py").write_text("")
    assert fresh_digest() != before
    (folder / "another.py").unlink()
    assert fresh_digest() == before


@pytest.mark.parametrize("make", [screen.compiled_screen, screen.compiled_exact])
def test_the_digest_is_part_of_the_key(make, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for value in (1, 2, 2):
        monkeypatch.setattr(screen, "source_digest", lambda value=value: value)
        compiled = make.__wrapped__()
        assert inspect.getclosurevars(compiled.py_func).nonlocals["digest"] == value
        keys.add(compiled._cache._index_key((), compiled.targetctx.codegen()))
    assert len(keys) == 2
