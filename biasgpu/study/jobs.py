"""Jobs: the files of a study, in the order in which they are made, each with a seed of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError
from biasgpu.study import families
from biasgpu.study.cells import Way
from biasgpu.study.definition import Study

_PREFIX: dict[Way, str] = {"guess-and-check": "gc", "sgd": "sgd"}


@dataclass(frozen=True)
class Job:
    """What one file of a study holds.

    Attributes:
        way: how its networks are found.
        architecture: their layers.
        prior: what they are drawn from, or trained from.
        data_seed: of the task.
        n_train: training samples; guess and check serves the smaller N as well, except with batch
            norms.
        seed: of the file's networks.
        epoch: training ends after so many, before its end in the study; None for its end.
    """

    way: Way
    architecture: Architecture
    prior: str
    data_seed: int
    n_train: int
    seed: int
    epoch: int | None = None

    @cached_property  # asked for again and again, and put together from all layers
    def file(self) -> str:
        """Its name in the folder: "gc-lenet-w1-6-d2c-3f-uniform-data200-n16.h5"."""
        parts = [_PREFIX[self.way], _label(self.architecture), self.prior]
        parts += [f"data{self.data_seed}", f"n{self.n_train}"]
        parts += [] if self.epoch is None else [f"epoch{self.epoch}"]
        return "-".join(_clean(part) for part in parts) + ".h5"

    def __str__(self) -> str:
        way = "guess and check" if self.way == "guess-and-check" else "SGD"
        return (
            f"{way}, {self.architecture}, {self.prior}, data seed {self.data_seed}, "
            f"N {self.n_train}{'' if self.epoch is None else f', after epoch {self.epoch}'}"
        )


def jobs(study: Study) -> list[Job]:
    """All files of a study: data seed after data seed, so that each completes a comparison.

    Raises:
        UsageError: two of them would have one name.
    """
    found: list[Job] = []
    for data_seed in study.data_seeds:
        for architecture in study.architectures:
            of = (architecture, data_seed)
            # What batch norms make of draws at one N says nothing of another.
            drawn = study.n if architecture.coupled else (study.n_train,)
            found += [
                _job(study, "guess-and-check", *of, p, n) for p in study.priors for n in drawn
            ]
            trained = [_job(study, "sgd", *of, init, n) for init in study.inits for n in study.n]
            found += trained
            # Orders and steps of an epoch do not depend on how many follow: the same networks,
            # on their way, in files that each end by what fits there, and keep that alone.
            found += [replace(job, epoch=epoch) for job in trained for epoch in study.keep_epochs]
    for name, count in Counter(job.file for job in found).items():
        if count > 1:
            raise UsageError(
                f"{count} cells of the study would be kept in one file, {name}.",
                why="files are named after architecture and prior, and these have like names.",
                fix="give architectures of your own other names, or make two studies (-o other/, "
                "output=...).",
            )
    return found


def _job(
    study: Study, way: Way, architecture: Architecture, data_seed: int, prior: str, n_train: int
) -> Job:
    seed = seed_of(study.seed, way, architecture, prior, data_seed, n_train)
    return Job(way, architecture, prior, data_seed, n_train, seed)


def seed_of(
    study_seed: int, way: Way, architecture: Architecture, prior: str, data_seed: int, n_train: int
) -> int:
    """The seed of a file's networks.

    The first 64 bits of the SHA-256 of what tells it from the study's other files, so that no two
    of them share candidates or initialisations, and error bars over data seeds are those of
    independent networks. It depends on nothing else: not on which other files a study has, nor on
    the recipe, so that two recipes under one study seed train the same initialisations; nor, in
    guess and check, on `n_train`, whose stream serves every N, unless there are batch norms. The
    files of kept epochs have one seed, for they hold the same networks on their way.

    Args:
        study_seed: of the study.
        way, architecture, prior, data_seed, n_train: of the file.
    """
    every_n = way == "guess-and-check" and not architecture.coupled
    told = [
        "biasgpu study",
        study_seed,
        way,
        architecture.head,
        architecture.bias,
        [layer.to_config() for layer in architecture.layers],
        prior,
        data_seed,
        0 if every_n else n_train,
    ]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _label(architecture: Architecture) -> str:
    config = families.to_config(architecture)
    if "layers" in config:  # its name and options do not tell it from others
        text = json.dumps(config["layers"], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{architecture.name}-{digest}-{architecture.head}-bias-{architecture.bias}"
    parts = [architecture.name]
    parts += [f"{key[0]}{value}" for key, value in architecture.options.items()]
    parts += [architecture.head] if architecture.head != "logits" else []
    parts += [f"bias-{architecture.bias}"] if architecture.bias != "zero" else []
    return "-".join(map(str, parts))


def _clean(part: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.")
