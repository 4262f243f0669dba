"""Tasks by name: which samples, in which order, with which values."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from biasgpu import rng
from biasgpu.data.datasets import DATASETS, IDX_PARTS
from biasgpu.data.embedded_mnist import load_embedded
from biasgpu.data.images import normalize
from biasgpu.errors import ImpossibleTaskError, UsageError
from biasgpu.tasks import task


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASGPU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BIASGPU_DATA_DIR", raising=False)


def test_default_is_seven_against_zero_from_the_package():
    made = task()
    assert (made.n_train, made.n_test) == (16, 600)
    assert made.shape == (1, 28, 28)
    assert made.class_names == ("7", "0")
    assert made.y_train.tolist() == [0, 1] * 8
    assert made.x_train.dtype == np.float32
    assert np.bincount(made.y_test).tolist() == [300, 300]
    assert made.sources["kind"] == "embedded"
    assert "because the full set is not there" in made.sources["note"]
    # Pinned: another value means other samples, and no stored run could be rebuilt.
    assert made.checksum == "a4809e093b2f148aaa38dc051aac430095b4f52f1ffd149ba9f935efca363847"


def test_samples_follow_the_stated_rule():
    images = load_embedded()
    made = task(classes=(3, 8), n_train=20, data_seed=77, n_validation=100)
    for label, number in enumerate((3, 8)):
        places = np.flatnonzero(images.y_train == number)
        order = rng.permutation(77, number, 200, stream=rng.STREAM_SELECTION)
        pixels = images.x_train[places[order[100:110]]].astype(np.float32)
        expected = (pixels / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
        np.testing.assert_array_equal(made.x_train[label::2], expected)
    test = images.y_test[np.isin(images.y_test, (3, 8))]
    np.testing.assert_array_equal(made.y_test, test == 8)


@pytest.mark.parametrize("name", ["mnist", "kink", "slab"])
def test_smaller_tasks_are_the_beginning_of_larger_ones(name):
    large = task(name, n_train=32, data_seed=201)
    for n_train in (2, 8, 30):
        small = task(name, n_train=n_train, data_seed=201)
        np.testing.assert_array_equal(small.x_train, large.x_train[:n_train])
        np.testing.assert_array_equal(small.y_train, large.y_train[:n_train])
        np.testing.assert_array_equal(small.x_test, large.x_test)
    assert task(name, n_train=32, data_seed=202).checksum != large.checksum


def test_the_order_of_classes_only_renames_labels():
    one, other = task(classes=(7, 0)), task(classes=(0, 7))
    np.testing.assert_array_equal(one.x_train[0::2], other.x_train[1::2])
    np.testing.assert_array_equal(one.y_test, 1 - other.y_test)


def test_three_classes():
    made = task(classes="7,0,3", n_train=9)
    assert made.y_train.tolist() == [0, 1, 2] * 3
    assert made.n_test == 900


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mnist", {"classes": "2,5", "n_train": 6, "data_seed": 3, "n_validation": 7}),
        ("kink", {"n_train": 60}),
        ("slab", {"classes": ("inside", "outside"), "data_seed": 9}),
    ],
)
def test_config_makes_the_same_task_again(name, options):
    made = task(name, **options)
    assert task(**made.config).checksum == made.checksum


@pytest.mark.parametrize("classes", [(7, 0), ["7", "0"], "7,0", " 7 , 0 ", np.array([7, 0])])
def test_classes_may_be_named_in_many_ways(classes):
    assert task(classes=classes).checksum == task().checksum


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "mnst"}, "unknown data set 'mnst'. Did you mean 'mnist'"),
        ({"classes": (7, 10)}, "unknown class 10 of mnist"),
        ({"classes": (7, -1)}, "unknown class -1"),
        ({"classes": (7, True)}, "unknown class True"),
        ({"classes": (7, 0.0)}, r"unknown class 0\.0"),
        ({"classes": "7,"}, "unknown class ''"),
        ({"name": "kink", "classes": ("abov", "below")}, "Did you mean 'above'"),
        ({"classes": "7,0,7"}, "class '7' is named twice"),
        ({"classes": (7,)}, "1 class named"),
        ({"classes": ()}, "0 class named"),
        ({"classes": 7}, "must name at least two"),
        ({"n_train": 15}, r"an even number, 2 or more[^?]*n_train=14 or 16"),
        ({"n_train": 0}, r"an even number, 2 or more[^?]*n_train=2 "),
        ({"n_train": -2}, "an even number, 2 or more"),
        ({"n_train": 1.5}, "must be a whole number"),
        ({"n_train": True}, "must be a whole number"),
        ({"n_train": "16"}, "must be a whole number"),
        ({"classes": "1,2,3"}, r"a multiple of 3, 3 or more[^?]*n_train=15 or 18"),
        ({"n_train": 146}, r"largest possible here is 144[^?]*'7' has 200 samples, 128 of them"),
        ({"n_validation": 200}, "largest possible here is 0"),
        ({"n_validation": -1}, "n_validation is -1"),
        ({"data_seed": -1}, r"data_seed is -1"),
        ({"data_seed": 2**64}, "data_seed"),
        ({"data_seed": "x"}, "data_seed"),
        ({"selection": "publishd"}, "unknown selection 'publishd'. Did you mean 'published'"),
        ({"source": "embeded"}, "unknown source 'embeded'. Did you mean 'embedded'"),
        ({"name": "kink", "selection": "published"}, "not for kink"),
        ({"name": "kink", "source": "official"}, "not for kink"),
        ({"name": "kink", "n_train": 7}, "an even number"),
        ({"name": "slab", "n_train": 2**40}, "largest possible"),
        ({"name": "a.npz", "selection": "published"}, r"not for a\.npz"),
    ],
)
def test_what_cannot_be(options, said):
    with pytest.raises(UsageError, match=said) as caught:
        task(**options)
    assert caught.value.exit_code == 2


def test_aliases_of_classes():
    from biasgpu.data.classes import parse_classes

    spec = DATASETS["cifar10"]
    parse = lambda classes: parse_classes(  # noqa: E731
        spec.classes, classes, default=spec.default_classes, aliases=spec.aliases
    )
    assert parse(None) == (2, 8)
    assert parse("car, Ship") == (1, 8)
    assert parse(("plane", 6)) == (0, 6)


def test_pixels_are_normalised_in_single_precision():
    torch = pytest.importorskip("torch")
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3, 1).transpose(0, 2, 1, 3)
    spec = DATASETS["cifar10"]
    found = normalize(pixels, spec.mean, spec.std)
    assert found.dtype == np.float32
    tensor = torch.tensor(pixels).to(torch.float32).div(255)
    mean = torch.as_tensor(spec.mean, dtype=torch.float32).view(-1, 1, 1)
    std = torch.as_tensor(spec.std, dtype=torch.float32).view(-1, 1, 1)
    np.testing.assert_array_equal(found, tensor.sub_(mean).div_(std).numpy())


# Files in a data folder, made small, with their checksums declared official.


def mnist_files(folder: Path, n_train: int = 2000, n_test: int = 300, same: bool = False) -> None:
    generator = np.random.default_rng(4)
    for names, n in ((IDX_PARTS[:2], n_train), (IDX_PARTS[2:], n_test)):
        pixels = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        if same:
            pixels[:] = 7
        labels = generator.integers(0, 10, n, dtype=np.uint8)
        images = struct.pack(">4I", 0x803, n, 28, 28) + pixels.tobytes()
        (folder / f"{names[0]}.gz").write_bytes(gzip.compress(images, 1, mtime=0))
        packed = gzip.compress(struct.pack(">2I", 0x801, n) + labels.tobytes(), 1, mtime=0)
        (folder / f"{names[1]}.gz").write_bytes(packed)


def declare_official(monkeypatch, folder: Path, n_train: int = 2000, n_test: int = 300) -> None:
    downloads = tuple(
        dataclasses.replace(
            source, md5=hashlib.md5((folder / source.name).read_bytes()).hexdigest()
        )
        for source in DATASETS["mnist"].downloads
    )
    spec = dataclasses.replace(
        DATASETS["mnist"], downloads=downloads, n_train=n_train, n_test=n_test
    )
    monkeypatch.setitem(DATASETS, "mnist", spec)


def test_partial_files_are_taken_as_they_are(tmp_path):
    mnist_files(tmp_path)
    made = task(data_dir=tmp_path, n_train=4)
    assert made.config["source"] == "auto"
    assert made.config["data_dir"] == str(tmp_path)
    assert not made.sources["official"]
    assert "2000 training and 300 test images" in made.sources["note"]
    assert task(**made.config).checksum == made.checksum


def test_one_image_under_two_labels(tmp_path):
    mnist_files(tmp_path, same=True)
    with pytest.raises(ImpossibleTaskError, match="samples 0 and 1"):
        task(data_dir=tmp_path)


@pytest.mark.parametrize("data_seed", [200, 202])
def test_published_selection(tmp_path, monkeypatch, data_seed):
    torch = pytest.importorskip("torch")
    mnist_files(tmp_path)
    declare_official(monkeypatch, tmp_path)
    made = task(
        classes=(7, 0), n_train=8, data_seed=data_seed, selection="published", data_dir=tmp_path
    )
    everything = task(classes=(7, 0), n_train=2, n_validation=0, data_dir=tmp_path)
    np.testing.assert_array_equal(made.x_test, everything.x_test)

    def part(images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
        raw = gzip.decompress((tmp_path / f"{images}.gz").read_bytes())
        pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
        numbers = gzip.decompress((tmp_path / f"{labels}.gz").read_bytes())
        return pixels, np.frombuffer(numbers, np.uint8, offset=8)

    pixels, labels = part(IDX_PARTS[0], IDX_PARTS[1])
    _, test_labels = part(IDX_PARTS[2], IDX_PARTS[3])
    torch.manual_seed(202)
    classes = torch.randperm(10)[:2].tolist()
    if data_seed != 202:
        torch.manual_seed(data_seed)
    for label, number in enumerate(classes):
        places = np.flatnonzero(labels == number)
        chosen = places[torch.randperm(len(places)).numpy()][128:132]
        torch.randperm(int((test_labels == number).sum()))
        expected = normalize(pixels[chosen], (0.1307,), (0.3081,))
        np.testing.assert_array_equal(made.x_train[label::2], expected)
    assert made.config["source"] == "official"
    assert task(**made.config).checksum == made.checksum


def test_published_selection_needs_the_official_files(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="the embedded subset holds 2000") as caught:
        task(selection="published")
    assert "biasgpu data fetch mnist" in caught.value.fix
    mnist_files(tmp_path)
    with pytest.raises(UsageError, match="these files hold 2000"):
        task(selection="published", data_dir=tmp_path)
    # With the right checksums there cannot be too few; the counts are checked all the same.
    declare_official(monkeypatch, tmp_path, n_train=60000)
    with pytest.raises(UsageError, match="among all 60000 training images"):
        task(selection="published", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": (0, 7)}, "no task 0,7 on mnist[^?]*7,0; 2,5; 2,8; 0,8; 3,5"),
        ({"classes": (7, 0, 3), "n_train": 3}, "no task 7,0,3"),
        ({"n_validation": 64}, "sets 128 aside"),
    ],
)
def test_published_selection_has_its_own_limits(options, said):
    with pytest.raises(UsageError, match=said):
        task(selection="published", **options)
