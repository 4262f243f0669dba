"""Priors: the distribution of a weight, as a function from random words to float32.

A prior says how many bits of a word a weight takes, how words become numbers of unit scale
(its family), and the scale for a unit of a given fan-in. The canonical float32 weight is defined
here, in NumPy; engines repeat it bit for bit (uniform) or approximate it within a stated bound
while screening (normal).

To add one: subclass `Prior` (any transform; the reference and torch engines take it as it is), or
make a `UniformPrior` or `NormalPrior` with a scale of your own (every engine takes those), and call
`register`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from biasgpu.errors import UsageError, unknown
from biasgpu.normal import normal

NORM_WEIGHT, NORM_BIAS = 0.1, 0.05  # half-widths for batch norms, about 1 and 0
Scale = Callable[[int], float]
Family = Literal["uniform", "normal", "other"]


class Prior:
    """The distribution every weight is drawn from, independently, given its fan-in.

    Attributes:
        name: the name that `make` finds it by, with its parameter: "uniform:0.2".
        bits: bits of a 32-bit word that one weight takes: 32, 16 or 8.
        symmetric: whether w and -w are equally likely, so that a one-logit head may flip its sign.
        family: how engines may compute it: "uniform" grid, "normal", or "other" (only `weights`).
    """

    name: str
    bits: int = 32
    symmetric: bool = True
    family: ClassVar[Family] = "other"

    def weights(self, words: npt.NDArray[np.uint32], fan_in: int) -> npt.NDArray[np.float32]:
        """Canonical weights.

        Args:
            words: uint32 `(..., n)`.
            fan_in: inputs of the unit the weights belong to (its bias not counted).

        Returns:
            float32 `(..., n * 32 // bits)`: a word's low bits give its first weight.
        """
        raise NotImplementedError

    def normalizer(
        self, words: npt.NDArray[np.uint32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Weights and biases of a batch norm's channels: 1 and 0, as in PyTorch.

        Args:
            words: uint32 `(..., channels, n)`, those of a channel's blocks.

        Returns:
            float32 `(..., channels)`, twice.
        """
        return np.ones(words.shape[:-1], np.float32), np.zeros(words.shape[:-1], np.float32)

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description; `from_config` finds the prior again, or says it is another."""
        return {"name": self.name, "fingerprint": self.fingerprint}

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits over some of its weights: equal draws, equal fingerprint."""
        words = np.arange(64, dtype=np.uint32) * np.uint32(0x9E3779B1)
        digest = zlib.crc32(f"{self.bits} {self.symmetric}".encode())
        for fan_in in (1, 2, 25, 784):
            weights = np.ascontiguousarray(self.weights(words, fan_in), dtype="<f4")
            digest = zlib.crc32(weights.tobytes(), digest)
        return f"{digest:08x}"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prior) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, eq=False)
class UniformPrior(Prior):
    """Uniform on a centred grid of 2^24, 2^16 or 2^8 points inside (-scale, scale).

    The grid is odd multiples of scale / 2^24 (or 2^16, 2^8): symmetric, of mean zero, never zero.
    A weight is the odd number times float32(scale / 2^24), rounded once. With `random_norms` the
    weights of batch norms are 1 plus uniform ones of half-width 0.1, rounded to float32, and their
    biases uniform of half-width 0.05 (Peleg and Hein, ICML 2024); else 1 and 0.
    """

    name: str
    scale: Scale
    bits: int = 32
    random_norms: bool = False
    family: ClassVar[Family] = "uniform"

    def step(self, fan_in: int) -> np.float32:
        """Half the distance of two grid points, in float32."""
        return np.float32(self.scale(fan_in) / 2.0 ** min(self.bits, 24))

    def weights(self, words: npt.NDArray[np.uint32], fan_in: int) -> npt.NDArray[np.float32]:
        """See `Prior.weights`."""
        return odd_integers(words, self.bits).astype(np.float32) * self.step(fan_in)

    def normalizer(
        self, words: npt.NDArray[np.uint32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """See `Prior.normalizer`."""
        if not self.random_norms:
            return super().normalizer(words)
        odd = odd_integers(words, self.bits)[..., :2].astype(np.float32)
        unit = np.float32(2.0 ** -min(self.bits, 24))
        weight = np.float32(1.0) + odd[..., 0] * (np.float32(NORM_WEIGHT) * unit)
        return weight, odd[..., 1] * (np.float32(NORM_BIAS) * unit)


@dataclass(frozen=True, eq=False)
class NormalPrior(Prior):
    """Normal with mean 0 and standard deviation `scale`, from `biasgpu.normal`, rounded once."""

    name: str
    scale: Scale
    family: ClassVar[Family] = "normal"

    def weights(self, words: npt.NDArray[np.uint32], fan_in: int) -> npt.NDArray[np.float32]:
        """See `Prior.weights`."""
        return (normal(words) * np.float64(self.scale(fan_in))).astype(np.float32)


def odd_integers(words: npt.NDArray[np.uint32], bits: int) -> npt.NDArray[np.int32]:
    """Words to odd integers, symmetric about zero: the top 24 bits, or each 16 or 8 bits.

    Args:
        words: uint32 `(..., n)`.
        bits: 32, 16 or 8.

    Returns:
        int32 `(..., n * 32 // bits)`, odd, below 2^24, 2^16 or 2^8 in magnitude.
    """
    if bits == 32:
        return (words.view(np.int32) >> np.int32(7)) | np.int32(1)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    fields = (words[..., None] >> shifts).astype(np.uint16 if bits == 16 else np.uint8)
    signed = fields.view(np.int16 if bits == 16 else np.int8).astype(np.int32)
    return (2 * signed + 1).reshape(*words.shape[:-1], -1)


def constant(value: float) -> Scale:
    """A scale that is the same for every fan-in."""
    return lambda fan_in: value


def kaiming_uniform_bound(fan_in: int) -> float:
    """sqrt(6 / fan_in): He et al., "Delving deep into rectifiers" (ICCV 2015)."""
    return math.sqrt(6.0 / fan_in)


def kaiming_normal_std(fan_in: int) -> float:
    """sqrt(2 / fan_in): He et al. 2015."""
    return math.sqrt(2.0 / fan_in)


# Name -> (default parameter or None where it takes none, how to make it from name and parameter).
_BUILDERS: dict[str, tuple[float | None, Callable[[str, float], Prior]]] = {
    "uniform": (1.0, lambda name, a: UniformPrior(name, constant(a), random_norms=True)),
    "uniform16": (1.0, lambda name, a: UniformPrior(name, constant(a), 16, True)),
    "uniform8": (1.0, lambda name, a: UniformPrior(name, constant(a), 8, True)),
    "normal": (1.0, lambda name, std: NormalPrior(name, constant(std))),
    "kaiming-uniform": (None, lambda name, _: UniformPrior(name, kaiming_uniform_bound)),
    "kaiming-uniform16": (None, lambda name, _: UniformPrior(name, kaiming_uniform_bound, 16)),
    "kaiming-uniform8": (None, lambda name, _: UniformPrior(name, kaiming_uniform_bound, 8)),
    "kaiming-normal": (None, lambda name, _: NormalPrior(name, kaiming_normal_std)),
}
_REGISTERED: dict[str, Prior] = {}


def names() -> list[str]:
    """The names `make` knows, the user's own included."""
    return sorted([*_BUILDERS, *_REGISTERED])


def register(prior: Prior) -> Prior:
    """Make a prior of your own known by its name, so that results files with it reopen.

    Raises:
        UsageError: the name is taken by a built-in prior, or `bits` is not 32, 16 or 8.
    """
    if prior.name.partition(":")[0] in _BUILDERS:
        raise UsageError(
            f"the prior name {prior.name!r} is taken.",
            why="a file names its prior, and one name is one prior.",
            fix="choose another name.",
        )
    if prior.bits not in (32, 16, 8):
        raise UsageError(
            f"{prior.name}: bits is {prior.bits}; it must be 32, 16 or 8.",
            why="a random word of 32 bits makes one, two or four weights.",
            fix="bits=32, or 16 or 8 for coarser grids.",
        )
    if prior.name in _REGISTERED and _REGISTERED[prior.name] != prior:
        raise UsageError(
            f"another prior is registered as {prior.name!r} already.",
            why="results files know a prior by its name.",
            fix="choose another name.",
        )
    _REGISTERED[prior.name] = prior
    return prior


def from_config(config: Mapping[str, Any]) -> Prior:
    """The prior that `to_config` described.

    Raises:
        UsageError: no prior of that name is known, or it draws other weights than the file's did.
    """
    name = str(config["name"])
    prior = make(name)
    if prior.fingerprint != config["fingerprint"]:
        raise UsageError(
            f"the prior {name!r} known here is not the one that the file was made with.",
            why="its weights differ: another definition was registered under the same name.",
            fix="register the prior that the file was made with (biasgpu.priors.register).",
        )
    return prior


def make(prior: str | Prior) -> Prior:
    """A prior by name, with its parameter after a colon: "kaiming-normal", "uniform:0.2".

    Args:
        prior: a name, or a `Prior`, which is returned as it is. `uniform` takes its half-width,
            `normal` its standard deviation; both default to 1.

    Raises:
        UsageError: an unknown name, or a parameter that is not a positive number.
    """
    if isinstance(prior, Prior):
        if prior.name.partition(":")[0] in _BUILDERS and make(prior.name) != prior:
            raise UsageError(
                f"this is not the built-in prior {prior.name!r}.",
                why="results files know a prior by its name.",
                fix="give it another name.",
            )
        return prior
    if prior in _REGISTERED:
        return _REGISTERED[prior]
    name, _, text = prior.partition(":")
    if name not in _BUILDERS:
        raise unknown(
            "prior", name, names(), fix="for example prior='uniform:0.2' (--prior uniform:0.2)."
        )
    default, build = _BUILDERS[name]
    if default is None:
        if text:
            raise UsageError(
                f"{name} takes no parameter, got {text!r}.",
                why="its scale follows from the width of the layer.",
                fix=f"--prior {name}",
            )
        return build(name, 0.0)
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 1e-12 <= value <= 1e12:
        raise UsageError(
            f"{name}: the parameter is {text!r}; it must be a number between 1e-12 and 1e12.",
            why="it is the scale of the weights.",
            fix=f"for example --prior {name}:0.2",
        )
    # One name for one prior: "uniform:1" and "uniform:1.0" are "uniform".
    return build(name if value == default else f"{name}:{value!r}".removesuffix(".0"), value)
