"""A labelled set of images in memory, and how its pixels become a network's input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageSet:
    """Training and test images of a data set, all classes, in file order.

    Args:
        x_train: uint8 `(n, channels, height, width)`.
        y_train: uint8 `(n,)`, official labels.
        x_test: uint8 `(m, channels, height, width)`.
        y_test: uint8 `(m,)`.
        source: "embedded" or "files".
        official: every file has the official checksum.
        data_dir: the data folder the user named, if the files come from there.
        sources: files, checksums, licence, a note for the user (JSON-able).
    """

    x_train: npt.NDArray[np.uint8]
    y_train: npt.NDArray[np.uint8]
    x_test: npt.NDArray[np.uint8]
    y_test: npt.NDArray[np.uint8]
    source: str
    official: bool
    data_dir: str | None = None
    sources: dict[str, Any] = field(default_factory=dict)


def normalize(
    pixels: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """Pixels scaled to [0, 1], then normalised per channel: `(pixel / 255 - mean) / std`.

    Every step is one float32 operation, in this order, on float32 constants, as in torchvision's
    `ToTensor` and `Normalize`; each is correctly rounded, so the result is the same everywhere.

    Args:
        pixels: uint8 `(n, channels, height, width)`.
        mean: per channel, of pixels in [0, 1].
        std: per channel.

    Returns:
        float32, the shape of `pixels`.
    """
    x = pixels.astype(np.float32)
    x /= np.float32(255)
    x -= np.array(mean, dtype=np.float32).reshape(-1, 1, 1)
    x /= np.array(std, dtype=np.float32).reshape(-1, 1, 1)
    return x
