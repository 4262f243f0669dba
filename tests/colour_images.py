"""CIFAR-10 archives in the official format, of small images that a network can learn."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

from biasgpu.data.cifar10 import BATCHES, PYTHON_FOLDER, TRAIN_BATCHES
from biasgpu.data.datasets import DATASETS

CLASSES = (0, 1, 2, 4, 6, 7, 8, 9)  # those of the published pairs
N_TRAIN, N_TEST = 145, 12  # images a class: 128 for validation, and what is trained with


def pictures(labels: np.ndarray, seed: int) -> np.ndarray:
    """uint8 `(n, 3, 32, 32)`: a class has a colour and a shade of its own, under coarse noise."""
    rng = np.random.default_rng(seed)
    tint = np.random.default_rng(10).integers(40, 216, (10, 3, 8, 8))
    coarse = tint[labels] + rng.integers(-40, 41, (len(labels), 3, 8, 8))
    return coarse.astype(np.uint8).repeat(4, axis=2).repeat(4, axis=3)


def labels_of(batch: str) -> np.ndarray:
    """int64: a batch's labels, mixed."""
    if batch not in TRAIN_BATCHES:
        return np.random.default_rng(99).permutation(np.repeat(CLASSES, N_TEST))
    all_labels = np.random.default_rng(98).permutation(np.repeat(CLASSES, N_TRAIN))
    return np.array_split(all_labels, len(TRAIN_BATCHES))[TRAIN_BATCHES.index(batch)]


def write(folder: Path, *, binary: bool = False) -> Path:
    """The archive in a data folder."""
    name = "cifar-10-binary.tar.gz" if binary else "cifar-10-python.tar.gz"
    (folder / "cifar10").mkdir(parents=True)
    with tarfile.open(folder / "cifar10" / name, "w:gz", compresslevel=1) as archive:
        for number, batch in enumerate(BATCHES):
            labels = labels_of(batch)
            rows = pictures(labels, number).reshape(len(labels), -1)
            if binary:
                content = np.hstack([labels[:, None].astype(np.uint8), rows]).tobytes()
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}.bin")
            else:
                content = pickle.dumps({b"data": rows, b"labels": labels.tolist()}, protocol=2)
                member = tarfile.TarInfo(f"{PYTHON_FOLDER}/{batch}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder


def expected(pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The test set of a pair as it must come out: float32 `(n, 3, 32, 32)`, int64 `(n,)`."""
    labels = labels_of("test_batch")
    keep = np.isin(labels, pair)
    x = pictures(labels, len(BATCHES) - 1)[keep].astype(np.float32) / np.float32(255)
    spec = DATASETS["cifar10"]
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (spec.mean, spec.std))
    return (x - mean) / std, np.where(labels[keep] == pair[0], 0, 1)
