"""A study's definition: all that decides which networks it finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from biasgpu import priors, rng
from biasgpu.architectures import Architecture
from biasgpu.errors import UsageError, suggestion, unknown
from biasgpu.study import families, rates, settings
from biasgpu.tasks import SELECTIONS
from biasgpu.training.recipe import SEARCHES, Recipe

OPTIMIZERS = ("sgd", "gd", "momentum", "adam", *SEARCHES)
FAMILY = ("arch", "widths", "depths", "head", "bias")
MOST_SAMPLES = 1 << 20
_TUPLES = ("classes", "data_seeds", "priors", "inits", "n", "keep_epochs")


@dataclass(frozen=True)
class Study:
    """Guess and check beside an optimiser, over architectures and data seeds.

    Args:
        data: a data set's name, or an `.npz` file.
        classes: as `biasgpu.task` takes them; None takes the data set's main pair. Their names
            are kept.
        data_seeds: each chooses other training samples; error bars are over them.
        selection, source, data_dir: as `biasgpu.task` takes them.
        architectures: their layers; `biasgpu.family` makes those of several widths or depths.
        priors: what guess and check draws from; none at all leaves it out.
        inits: what training begins from; none at all leaves it out.
        n_train: training samples; guess and check serves every smaller N in one pass.
        n: the N that networks are trained at, and drawn at where they have batch norms, which see
            all training samples; empty for every multiple of the number of classes up to `n_train`,
            which it then holds.
        fits: networks that guess and check finds for each architecture, prior and data seed, and
            that it keeps at each smaller N.
        trained: trained networks without training error asked for at each N.
        candidates: of guess and check, at most so many a file; None sets no limit.
        networks: trained, successful or not, at most so many a cell; None sets no limit.
        time_s: at most so many seconds a file; None, or infinity, sets no limit. What ends by it
            depends on the machine.
        optimizer: "sgd", "gd" (full batch), "momentum", "adam", or a search: "pattern-search",
            "greedy-random".
        learning_rate: one for all initialisations, or one for each by name; None takes the
            published ones.
        batch_size: None takes the published min(2, N / 2).
        epochs: passes over the training samples.
        keep_epochs: epochs at which training is looked at as well, each below `epochs`: cells of
            the networks without training error after so many.
        stop_early: training ends at the first epoch without training error.
        gradient_norms: record them at every epoch of training.
        measures: take the measures that normalised losses need.
        keep_weights: keep the trained networks' weights in the files.
        seed: of the study; every file has a seed of its own, derived from it.

    Raises:
        UsageError: settings that cannot be.

    Example:
        biasgpu.Study(architectures=biasgpu.family("lenet", ["1/6", "4/6"]), n_train=8, fits=50)
    """

    data: str = "mnist"
    classes: tuple[int | str, ...] | None = None
    data_seeds: tuple[int, ...] = (200,)
    selection: str = "biasgpu"
    source: str = "auto"
    data_dir: str | None = None
    architectures: tuple[Architecture, ...] = field(default_factory=families.family)
    priors: tuple[str, ...] = ("uniform",)
    inits: tuple[str, ...] = ("kaiming-uniform",)
    n_train: int = 16
    n: tuple[int, ...] = ()
    fits: int = 100
    trained: int = 100
    candidates: int | None = None
    networks: int | None = None
    time_s: float | None = 600.0
    optimizer: str = "sgd"
    learning_rate: float | Mapping[str, float] | tuple[tuple[str, float], ...] | None = None
    batch_size: int | None = None
    epochs: int = 60
    keep_epochs: tuple[int, ...] = ()
    stop_early: bool = False
    gradient_norms: bool = False
    measures: bool = True
    keep_weights: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        data, classes = _resolved(
            settings.text("data", str(self.data), "mnist"), self.classes, self.n_train
        )
        self._set("data", data)
        self._set("classes", classes)
        if self.data_dir is not None:
            self._set("data_dir", settings.text("data_dir", str(self.data_dir), "data/mnist"))
        if self.selection not in SELECTIONS:
            raise unknown("selection", str(self.selection), SELECTIONS)
        settings.text("source", self.source, "auto")
        self._check_cells()
        self._check_numbers()
        self._check_points()

    def _check_cells(self) -> None:
        self._set("data_seeds", settings.listed("data_seeds", self.data_seeds, "(200, 201)"))
        for seed in self.data_seeds:
            rng.check_uint64("data_seeds", seed)
        if self.data.endswith(".npz") and len(self.data_seeds) > 1:
            raise UsageError(
                f"{len(self.data_seeds)} data seeds for {self.data}.",
                why="an .npz file has its training samples in order, and no seed chooses others.",
                fix=f"one data seed: data_seeds=({self.data_seeds[0]},) "
                f"(--data-seeds {self.data_seeds[0]}).",
            )
        for name, example in (("priors", "uniform"), ("inits", "kaiming-uniform")):
            named = settings.listed(name, getattr(self, name), f"({example!r},)", empty=True)
            checked = [priors.make(settings.text(name, one, example)).name for one in named]
            self._set(name, settings.listed(name, checked, f"({example!r},)", empty=True))
        if not self.priors and not self.inits:
            raise UsageError(
                "neither a prior nor an initialisation.",
                why="a study draws networks, trains them, or does both.",
                fix="name one: priors=('uniform',) (--prior uniform), or "
                "inits=('kaiming-uniform',) (--init kaiming-uniform).",
            )
        made = settings.listed("architectures", self.architectures, 'family("lenet", ["1/6"])')
        for one in made:
            if not isinstance(one, Architecture):
                raise settings.wrong(
                    "architectures", one, "a list of architectures", "each has cells of its own",
                    'family("lenet", ["1/6", "4/6"])',
                )  # fmt: skip
        self._set("architectures", made)

    def _check_numbers(self) -> None:
        settings.whole("fits", self.fits, 1, "so many networks are found in each cell")
        settings.whole("trained", self.trained, 1, "so many networks are trained in each cell")
        for name in ("candidates", "networks", "batch_size"):
            settings.optional_whole(name, getattr(self, name), "it is counted")
        # TOML has no null: there, infinity says that there is no limit.
        time_s = None if self.time_s == math.inf else self.time_s
        limit = settings.optional_positive("time_s", time_s, "it is a time limit", "600")
        self._set("time_s", limit)
        for name in ("stop_early", "gradient_norms", "measures", "keep_weights"):
            settings.flag(name, getattr(self, name))
        rng.check_uint64("seed", self.seed)
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", str(self.optimizer), OPTIMIZERS)
        if self.optimizer in SEARCHES and (self.gradient_norms or self.batch_size is not None):
            name = "gradient_norms" if self.gradient_norms else "batch_size"
            raise UsageError(
                f"{name} with optimizer {self.optimizer!r}.",
                why="a search takes no gradient, and looks at all training samples.",
                fix=f"leave {name} out (--{name.replace('_', '-')}), or take optimizer='sgd' "
                "(--optimizer sgd).",
            )
        kept = settings.listed("keep_epochs", self.keep_epochs, "(1, 3, 5)", empty=True)
        for epoch in kept:
            why = "guess and check finds the initialisations that fit"
            settings.whole("keep_epochs", epoch, 1, why)
        self._set("keep_epochs", tuple(sorted(kept)))
        self._set("learning_rate", rates.checked(self.learning_rate, self.inits))
        for rate in rates.each(self.learning_rate) or (0.01,):
            Recipe(  # checks them
                learning_rate=rate,
                epochs=self.epochs,
                keep_epochs=self.keep_epochs,
                stop_early=self.stop_early,
            )

    def _check_points(self) -> None:
        settings.whole("n_train", self.n_train, 2, "every class has a training sample")
        if self.n_train > MOST_SAMPLES:  # before the points up to it are listed
            raise UsageError(
                f"n_train is {self.n_train:.3g}; it must be at most {MOST_SAMPLES:,}.",
                why="a study has a point for every multiple of the number of classes up to it.",
                fix="for example n_train=16 (--n-train 16).",
            )
        n_classes = self.n_classes
        points = settings.listed("n", self.n, "(4, 8)", empty=True) or tuple(
            range(n_classes, self.n_train + 1, n_classes)
        )
        for n in (self.n_train, *points):
            settings.whole("n", n, n_classes, "every class has a training sample")
            if n % n_classes or n > self.n_train:
                raise UsageError(
                    f"n is {n} with n_train {self.n_train} and {n_classes} classes.",
                    why="N is a multiple of the number of classes, up to n_train.",
                    fix=f"for example n=({n_classes}, {2 * n_classes}) "
                    f"(--n {n_classes},{2 * n_classes}).",
                )
        self._set("n", tuple(sorted(points)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return len(self.classes or ())

    @property
    def task_name(self) -> str:
        """Data set and classes, for titles: "mnist 7 vs 0"."""
        return f"{Path(self.data).stem} {' vs '.join(map(str, self.classes or ()))}"

    def rate_from(self, init: str) -> float | None:
        """The learning rate from an initialisation; None takes the published one."""
        if isinstance(self.learning_rate, tuple):
            return dict(self.learning_rate)[init]
        return self.learning_rate  # type: ignore[return-value]  # a mapping has become a tuple

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description; `from_config` rebuilds the study."""
        config = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _TUPLES:
            config[name] = list(config[name])
        if isinstance(self.learning_rate, tuple):
            config["learning_rate"] = dict(self.learning_rate)
        config["architectures"] = [families.to_config(one) for one in self.architectures]
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Study:
        """The study that `to_config` described, or that a person wrote down.

        Args:
            config: any of the settings. Instead of `architectures` (objects with `arch`, `width`,
                `depth`, `head`, `bias`) it may have a family: `arch`, `widths`, `depths`, `head`,
                `bias`.

        Raises:
            UsageError: an unknown key, or a value that cannot be.
        """
        if not isinstance(config, Mapping):
            raise settings.wrong(
                "a study", config, "an object of settings", "each setting has a name",
                '{"arch": "lenet"}',
            )  # fmt: skip
        known = [one.name for one in fields(cls)]
        for key in config:
            if key not in (*known, *FAMILY):
                raise UsageError(
                    f"unknown setting {key!r} of a study.{suggestion(str(key), [*known, *FAMILY])}",
                    why=f"known: {', '.join([*known, *FAMILY])}.",
                    fix="use one of these names; biasgpu compare --help explains them.",
                )
        values = {key: value for key, value in config.items() if key not in FAMILY}
        shared = {key: config[key] for key in FAMILY if config.get(key) is not None}
        if shared and values.get("architectures") is not None:
            raise UsageError(
                f"architectures beside {', '.join(shared)}.",
                why="the architectures are listed one by one, or as a family.",
                fix="leave one of the two out (--arch, --width, --depth name a family).",
            )
        if shared:
            values["architectures"] = families.family(**shared)
        elif values.get("architectures") is None:
            values.pop("architectures", None)
        else:
            several = settings.listed("architectures", values["architectures"], "[...]")
            values["architectures"] = tuple(
                one if isinstance(one, Architecture) else families.from_config(one)
                for one in several
            )
        return cls(**values)


def _resolved(data: str, classes: Any, n_train: int) -> tuple[str, tuple[str, ...]]:
    """The data set's one name, and the names of the classes."""
    if isinstance(classes, str):
        classes = [part.strip() for part in classes.split(",")]
    if not data.endswith(".npz"):
        from biasgpu.data.classes import parse_classes
        from biasgpu.data.datasets import dataset

        spec = dataset(data)
        numbers = parse_classes(
            spec.classes,
            classes,
            default=spec.default_classes,
            aliases=spec.aliases,
            what=spec.name,
        )
        return spec.name, tuple(spec.classes[number] for number in numbers)
    path = Path(data).expanduser().resolve()  # wherever the study is gone on with
    if classes is None:
        from biasgpu.data.own import task_from_npz

        return str(path), task_from_npz(path, n_train=n_train).class_names
    return str(path), tuple(map(str, settings.listed("classes", classes, "(7, 0)")))
