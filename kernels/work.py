"""What a launch has to do, from its arguments alone: the model behind measured speeds.

Useful work: units and samples that a tile has beyond the layer's are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from biasgpu.kernels.direct_plan import BLOCK

Numbers = Mapping[str, Any]  # arguments of a launch that are numbers, and its constants


@dataclass(frozen=True)
class Work:
    """Of one launch.

    Attributes:
        draws: that it takes.
        words: random words made.
        products: multiplications, each added to a sum; those of a bound are counted as well.
        memory_bytes: read and written, of the caches mostly.
    """

    draws: int
    words: int
    products: int
    memory_bytes: int

    @property
    def flops(self) -> int:
        """A product and its addition are two."""
        return 2 * self.products


def of(kernel: str, numbers: Numbers, programs: int) -> Work:
    """The work of a launch.

    Args:
        kernel: the function's name, "_dense_kernel".
        numbers: its arguments and constants, by name.
        programs: of its grid, along the first axis.

    Raises:
        ValueError: a kernel without a model.
    """
    if kernel not in _MODELS:
        raise ValueError(f"there is no model of {kernel}; there are {', '.join(_MODELS)}")
    draws, words, products, memory = _MODELS[kernel](numbers, programs)
    return Work(draws, draws * words, draws * products, draws * memory)


def _size(numbers: Numbers) -> int:
    return 8 if numbers.get("WIDE") else 4


def _dense(m: Numbers, _: int) -> tuple[int, int, int, int]:
    samples, units, inputs = m["SAMPLES"], m["n_units"], m["n_inputs"]
    tiles = -(-units // m["UNITS"])
    loads = 2 * samples * inputs * tiles
    words = 4 * units * m["blocks_per_unit"]
    return m["n"], words, 2 * samples * units * inputs, _size(m) * (loads + 2 * samples * units)


def _digits(m: Numbers, _: int) -> tuple[int, int, int, int]:
    samples, inputs = m["SAMPLES"], m["n_inputs"]
    return m["n"], 0, 0, samples * (8 * inputs + 4 * inputs) + m["BOUNDS"] * inputs


def _product(m: Numbers, _: int) -> tuple[int, int, int, int]:
    # Products of values, whatever bytes and digits they are put together from; a shared layer's
    # bounds take none.
    samples, units, blocks = m["SAMPLES"], m["n_units"], m["blocks_per_unit"]
    inputs = blocks * 128 // m["BITS"]
    shared = m["SHARED"]
    tiles = 0 if shared else -(-units // m["ROWS"])  # shared digits stay in the cache
    loads = tiles * inputs * (4 * samples + m["BOUNDS"])
    products = (1 if shared else 2) * samples * units * inputs
    return m["n"], 4 * units * blocks, products, loads + 8 * samples * units


def _draw(m: Numbers, _: int) -> tuple[int, int, int, int]:
    return (
        m["n"],
        4 * m["n_units"] * m["blocks_per_unit"],
        0,
        _size(m) * m["n_units"] * m["columns"],
    )


def _convolution(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    samples, units, kernel = m["SAMPLES"], m["n_units"], m["KERNEL"]
    tiles = -(-units // m["UNITS"])
    windows = m["rows_out"] * m["columns_out"]
    rows, pooled = m["n_channels"] * kernel, m["POOLED"]
    inputs = 2 * (kernel + 1) * rows if pooled else kernel * rows
    products = samples * units * rows * kernel * windows * (4 if pooled else 1)
    loads = tiles * windows * (samples * inputs + m["UNITS"] * rows * kernel)
    memory = _size(m) * (loads + 2 * samples * units * windows)
    return programs // tiles * BLOCK, 0, products, memory


def _patches(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    # Patches, the same for all draws, stay in the cache; bounds are a channel's.
    units, windows = m["n_units"], m["SAMPLES"] * m["n_windows"]
    products = units * windows * m["n_taps"] * (4 if m["POOLED"] else 1)
    return programs // units * BLOCK, 0, products, 4 * units * (m["columns"] + windows)


def _pool(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    size, planes = m["size"], m["n_planes"]
    before, after = m["height"] * m["width"], (m["height"] // size) * (m["width"] // size)
    # float32 and float64 are not told apart by a constant; float64 is rare.
    return programs // planes * BLOCK, 0, 0, 8 * planes * (before + after)


def _decide(m: Numbers, _: int) -> tuple[int, int, int, int]:
    return m["n"], 0, 0, 2 * _size(m) * m["n_samples"] * m["N_OUTPUTS"] + 32


def _reject(m: Numbers, _: int) -> tuple[int, int, int, int]:
    return m["n"], 4 + 4 * m["PROBES"] * m["N_LAYERS"], 0, 10


def _gram(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    # Of all blocks of samples on the diagonal, or of all pairs below it.
    samples, rows, columns = m["N_SAMPLES"], m["ROWS"], m["COLUMNS"]
    units = 4 * m["LANES"] * m["n_chunks"] * m["n_tiles"]
    blocks = -(-samples // rows)
    directions = sum(min((i + 1) * rows, samples) for i in range(blocks))
    products, words = units * samples * (samples + 1) // 2, units * directions
    if m["DIAGONAL"]:
        inner = blocks * rows * (rows + 1) // 2
    else:
        pairs = [i * (rows // columns) for i in range(blocks)]
        words = units * sum(min((i + 1) * rows, samples) * n for i, n in enumerate(pairs))
        inner = sum(pairs) * rows * columns
    return programs, words, products + units * inner, _size(m) * (samples * samples + inner)


def _factor(m: Numbers, _: int) -> tuple[int, int, int, int]:
    samples = m["N_SAMPLES"]
    return m["n"], 0, samples**3 // 3 + samples, 8 * 5 * samples * samples


def _outputs(m: Numbers, _: int) -> tuple[int, int, int, int]:
    return m["n"], 4 * -(-m["n_words"] // 4), 0, _size(m) * m["n_words"]


def _check(m: Numbers, _: int) -> tuple[int, int, int, int]:
    samples, outputs = m["N_SAMPLES"], m["N_OUTPUTS"]
    pairs = samples * (samples + 1) // 2
    return m["n"], 0, 2 * outputs * pairs, 16 * pairs + _size(m) * samples * outputs + 8


def _parameters(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    words = 4 * m["n_units"] * m["blocks_per_unit"]
    return programs // m["n_tiles"], words, 0, 16 * m["n_units"] * m["columns"]


def _images(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    tiles, windows = -(-m["n_units"] // m["UNITS"]), m["rows"] * m["columns"]
    taps = m["n_channels"] * m["KERNEL"] ** 2
    made = m["n_units"] * m["kept_rows"] * m["kept_columns"]
    reads = tiles * m["n_channels"] * m["height"] * m["width"]
    products = m["n_samples"] * m["n_units"] * windows * taps
    memory = 8 * (m["n_samples"] * (reads + made) + m["n_units"] * taps)
    return programs // (m["n_tiles"] * tiles), 0, products, memory


def _settle(m: Numbers, _: int) -> tuple[int, int, int, int]:
    terms = m["n_channels"] * m["taps"] if m["LINEAR"] else 0
    words = 4 * m["n_units"] * m["each"] if m["RANDOM"] else 0
    return m["n"], words, m["n_units"] * terms, 8 * m["n_units"] * (terms + 2 * m["n_tiles"] + 8)


def _products(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    units, terms = m["n_units"], m["n_terms"]
    return programs // m["n_tiles"], 0, units * units * terms, 8 * units * (units + terms)


def _total(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    return programs, 0, 0, 8 * (4 * m["n_units"] + m["n_tiles"])


def _element(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    channels, joined = m["n_channels"], 2 if m["JOINED"] else 1
    read, made = m["height"] * m["width"], m["kept_rows"] * m["kept_columns"]
    memory = 8 * m["n_samples"] * channels * (joined * read + made)
    return programs // (channels * m["n_tiles"]), 0, 0, memory


def _features(m: Numbers, programs: int) -> tuple[int, int, int, int]:
    samples, units, inputs = m["n_samples"], m["n_units"], m["n_channels"] * m["taps"]
    memory = 8 * (samples * inputs + units * inputs + samples * units)
    return programs // m["n_tiles"], 0, samples * units * inputs, memory


_MODELS: dict[str, Callable[[Numbers, int], tuple[int, int, int, int]]] = {
    "_dense_kernel": _dense,
    "_digits_kernel": _digits,
    "_product_kernel": _product,
    "_draw_kernel": _draw,
    "_parameters_kernel": _parameters,
    "_images_kernel": _images,
    "_settle_kernel": _settle,
    "_products_kernel": _products,
    "_total_kernel": _total,
    "_element_kernel": _element,
    "_features_kernel": _features,
    "_convolution_kernel": _convolution,
    "_patches_kernel": _patches,
    "_pool_kernel": _pool,
    "_decide_kernel": _decide,
    "_reject_kernel": _reject,
    "_gram_kernel": _gram,
    "_factor_kernel": _factor,
    "_outputs_kernel": _outputs,
    "_check_kernel": _check,
}
