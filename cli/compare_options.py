"""The options of `biasgpu compare`, and the settings of a study that they spell.

Defaults are those of `biasgpu.Study`: an option that was not typed says nothing, so that a file, or
the study in a folder, may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from biasgpu.cli.parsing import COUNT, DURATION
from biasgpu.errors import UsageError, unknown

Command = TypeVar("Command", bound=Callable[..., Any])
WAYS = ("guess-and-check", "sgd")
EXAMPLES = {"data-seeds": "200,201", "n": "4,8,16", "keep-epochs": "1,3,5"}


def _list(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _numbers(name: str) -> Callable[[str], list[int]]:
    def convert(value: str) -> list[int]:
        try:
            return [int(part) for part in _list(value)]
        except ValueError:
            raise UsageError(
                f"--{name} is {value!r}; it must be whole numbers with commas.",
                why="each of them makes cells of its own.",
                fix=f"for example --{name} {EXAMPLES[name]}.",
            ) from None

    return convert


# Setting -> (option, metavar, help, what becomes of the text).
TEXTS: dict[str, tuple[str, str, str, Callable[[str], Any]]] = {
    "data": (
        "data",
        "NAME",
        "mnist, fashion-mnist, kmnist, cifar10, kink, slab, or a file.npz.  [default: mnist]",
        str,
    ),
    "data_dir": (
        "data-dir",
        "FOLDER",
        "Where official data files lie.  [default: $BIASGPU_DATA_DIR, or the cache]",
        str,
    ),
    "classes": (
        "classes",
        "A,B",
        "Classes by number or name, the first being label 0.  [default: 7,0 for mnist]",
        _list,
    ),
    "data_seeds": (
        "data-seeds",
        "LIST",
        "Each chooses other training samples; error bars are over them.  [default: 200]",
        _numbers("data-seeds"),
    ),
    "selection": ("selection", "HOW", "biasgpu, or published.  [default: biasgpu]", str),
    "source": ("source", "WHICH", "auto, official, or embedded.  [default: auto]", str),
    "arch": ("arch", "NAME", "lenet, paper-mlp, resnet4 or mlp.  [default: lenet]", str),
    "widths": (
        "width",
        "LIST",
        "Widths to compare: 1/6,4/6. One with a factor for each layer has colons: "
        "1/6:1/6:1/24:1/24.  [default: the architecture's]",
        _list,
    ),
    "depths": ("depth", "LIST", "Depths to compare: 2c-3f,2c-1f, or 1,2,4.", _list),
    "head": ("head", "HEAD", "logits, or one-logit.  [default: logits]", str),
    "bias": ("bias", "BIAS", "zero, or prior.  [default: zero]", str),
    "priors": (
        "prior",
        "LIST",
        "What guess and check draws from.  [default: uniform]",
        _list,
    ),
    "inits": (
        "init",
        "LIST",
        "What training begins from.  [default: kaiming-uniform]",
        _list,
    ),
    "n": (
        "n",
        "LIST",
        "The N to train at, and with batch norms to draw at; the largest alone keeps no others.  "
        "[default: all up to --n-train]",
        _numbers("n"),
    ),
    "keep_epochs": (
        "keep-epochs",
        "LIST",
        "Look at training after these epochs too, each with cells of its own: 1,3,5.",
        _numbers("keep-epochs"),
    ),
    "optimizer": (
        "optimizer",
        "NAME",
        "sgd, gd, momentum, adam, pattern-search or greedy-random.  [default: sgd]",
        str,
    ),
}
NUMBERS: dict[str, tuple[str, str, str, Any]] = {
    "n_train": (
        "n-train",
        "N",
        "The largest N; guess and check serves the smaller ones in one pass.  [default: 16]",
        int,
    ),
    "fits": ("fits", "COUNT", "Networks to find by guess and check.  [default: 100]", COUNT),
    "trained": (
        "trained",
        "COUNT",
        "Trained networks without training error, at each N.  [default: 100]",
        COUNT,
    ),
    "candidates": ("candidates", "COUNT", "Guess and check ends after so many, a file.", COUNT),
    "networks": ("networks", "COUNT", "Training ends after so many networks, a file.", COUNT),
    "time_s": ("time", "DURATION", "At most so long for each file.  [default: 10m]", DURATION),
    "learning_rate": ("learning-rate", "RATE", "[default: the published one]", float),
    "batch_size": ("batch-size", "N", "[default: min(2, N / 2), as published]", int),
    "epochs": ("epochs", "COUNT", "Passes over the training samples.  [default: 60]", int),
    "seed": ("seed", "SEED", "Of the study; each file's is derived from it.  [default: 0]", int),
}
FLAGS = {
    "stop_early": ("stop-early", "Train only until there is no training error."),
    "gradient_norms": ("gradient-norms", "Record gradient norms at every epoch of training."),
    "no_measures": ("no-measures", "Leave out what the normalised losses need."),
    "keep_weights": ("keep-weights", "Keep the trained networks' weights."),
}
ORDER = (
    *("data", "data_dir", "classes", "data_seeds", "selection", "source"),
    *("arch", "widths", "depths", "head", "bias", "priors", "inits", "n_train", "n"),
    *("fits", "trained", "candidates", "networks", "time_s"),
    *("optimizer", "learning_rate", "batch_size", "epochs", "keep_epochs", "seed"),
)


def study_options(command: Command) -> Command:
    """All settings of a study as options."""
    for name in reversed(FLAGS):
        option, text = FLAGS[name]
        command = click.option(f"--{option}", name, is_flag=True, help=text)(command)
    command = click.option(
        "--only", metavar="WAY", help="guess-and-check or sgd; both if left out."
    )(command)
    for name in reversed(ORDER):
        option, metavar, text, kind = {**TEXTS, **NUMBERS}[name]
        kind = str if name in TEXTS else kind
        command = click.option(f"--{option}", name, metavar=metavar, type=kind, help=text)(command)
    return command


def typed(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that were typed, as `Study.from_config` takes them.

    Raises:
        UsageError: text that cannot be read.
    """
    settings = {name: given[name] for name in NUMBERS if given[name] is not None}
    for name, (_, _, _, convert) in TEXTS.items():
        if given[name] is not None:
            settings[name] = convert(given[name])
    for name in FLAGS:
        if given[name] and name != "no_measures":
            settings[name] = True
    if given["no_measures"]:
        settings["measures"] = False
    if given["only"] is not None:
        if given["only"] not in WAYS:
            raise unknown("way", given["only"], WAYS)
        other, option = ("inits", "--init") if given["only"] == WAYS[0] else ("priors", "--prior")
        if other in settings:
            raise UsageError(
                f"{option} beside --only {given['only']}.",
                why="one of them asks for what the other leaves out.",
                fix=f"leave out {option}, or --only.",
            )
        settings[other] = []
    return settings
