"""The files of a study: names, order, seeds."""

from __future__ import annotations

import pytest

import biasgpu
from biasgpu import Study, family, layers
from biasgpu.errors import UsageError
from biasgpu.study.jobs import Job, jobs, seed_of
from biasgpu.study.pace import Pace

STUDY = Study(
    architectures=family("lenet", ["1/6", "1/6:1/6:1/24:1/24"]),
    data_seeds=(200, 7),
    priors=("uniform", "uniform:0.2"),
    n_train=8,
    n=(4, 8),
)
SEEDS = (2724841579807899862, 18218482608407013427)


def test_names_and_order() -> None:
    found = [job.file for job in jobs(STUDY)]
    assert len(found) == len(set(found)) == 2 * 2 * 4
    assert found[:5] == [
        "gc-lenet-w1-6-d2c-3f-uniform-data200-n8.h5",
        "gc-lenet-w1-6-d2c-3f-uniform-0.2-data200-n8.h5",
        "sgd-lenet-w1-6-d2c-3f-kaiming-uniform-data200-n4.h5",
        "sgd-lenet-w1-6-d2c-3f-kaiming-uniform-data200-n8.h5",
        "gc-lenet-w1-6-1-6-1-24-1-24-d2c-3f-uniform-data200-n8.h5",
    ]
    assert [job.data_seed for job in jobs(STUDY)] == [200] * 8 + [7] * 8


def test_seeds_are_those_of_earlier_releases() -> None:
    """A study made before must be gone on with: a file's seed is its networks' name."""
    lenet = biasgpu.lenet(width="1/6")
    assert seed_of(0, "guess-and-check", lenet, "uniform", 200, 16) == SEEDS[0]
    assert seed_of(0, "sgd", lenet, "kaiming-uniform", 200, 16) == SEEDS[1]


def test_no_two_files_share_a_seed_and_no_file_depends_on_the_others() -> None:
    several = [*jobs(STUDY), *jobs(Study(architectures=STUDY.architectures, seed=1))]
    assert len({job.seed for job in several}) == len(several)
    alone = Study(architectures=family("lenet", ["1/6"]), data_seeds=(7,), n_train=8, fits=3)
    shared = {job.file: job.seed for job in jobs(STUDY)}
    both = [job for job in jobs(alone) if job.file in shared]
    assert len(both) == 3
    assert all(shared[job.file] == job.seed for job in both)


def test_a_larger_n_goes_on_with_the_same_candidates() -> None:
    lenet = biasgpu.lenet()
    drawn = {seed_of(0, "guess-and-check", lenet, "uniform", 200, n) for n in (8, 16)}
    trained = {seed_of(0, "sgd", lenet, "uniform", 200, n) for n in (8, 16)}
    assert (len(drawn), len(trained)) == (1, 2)
    assert not drawn & trained


def test_architectures_of_ones_own_are_told_apart() -> None:
    def tiny(units: int, name: str = "tiny", bias: layers.Bias = "zero") -> biasgpu.Architecture:
        parts = [layers.Flatten(), layers.Dense(units, bias), layers.ReLU()]
        return biasgpu.Architecture(name, parts, bias=bias)

    study = Study(architectures=(tiny(3), tiny(4), tiny(3, bias="prior")), inits=())
    assert len({job.file for job in jobs(study)}) == 3
    assert all(job.file.startswith("gc-tiny-") for job in jobs(study))
    clash = Study(architectures=(tiny(3, "my net"), tiny(3, "my-net")), inits=())
    with pytest.raises(UsageError, match="2 cells of the study would be kept in one file"):
        jobs(clash)


def test_the_time_that_is_left() -> None:
    pace = Pace()
    several = jobs(STUDY)
    drawn = [job for job in several if job.way == "guess-and-check"]
    trained = [job for job in several if job.way == "sgd"]
    assert pace.remaining_s([]) == 0.0
    assert pace.remaining_s(several) is None
    pace.add(drawn[0], 10.0)
    assert pace.remaining_s(several) is None
    pace.add(trained[0], 4.0)  # N = 4: a second a sample
    assert pace.remaining_s(several) == 8 * 10.0 + 4 * (4.0 + 8.0)
    assert isinstance(several[0], Job)
