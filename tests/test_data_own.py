"""Tasks from the user's own arrays, data sets and .npz files."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from biasgpu.data.own import task_from_arrays, task_from_dataset, task_from_npz
from biasgpu.errors import BiasgpuError, DamagedFileError, ImpossibleTaskError, UsageError
from biasgpu.tasks import task

X = np.arange(16, dtype=np.float64).reshape(8, 2)
Y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
XT = X + 100
ARRAYS = {"x_train": X, "y_train": Y, "x_test": XT, "y_test": Y}


def test_classes_alternate_and_keep_their_order():
    made = task_from_arrays(X, Y, XT, Y)
    assert made.y_train.tolist() == [0, 1] * 4
    assert made.x_train[:, 0].tolist() == [0, 8, 2, 10, 4, 12, 6, 14]
    assert made.x_train.dtype == np.float32
    np.testing.assert_array_equal(made.x_test, XT)
    assert made.class_names == ("0", "1")
    assert made.config["n_train"] == 8
    short = task_from_arrays(X, Y, XT, Y, n_train=4)
    np.testing.assert_array_equal(short.x_train, made.x_train[:4])


def test_a_mapping_serves_as_well():
    assert task_from_arrays(ARRAYS).checksum == task_from_arrays(X, Y, XT, Y).checksum
    with pytest.raises(UsageError, match="mapping lacks y_test"):
        task_from_arrays({key: ARRAYS[key] for key in ("x_train", "y_train", "x_test")})
    with pytest.raises(UsageError, match="x_test is missing"):
        task_from_arrays(X, Y)


def test_shuffling_stays_within_classes_and_is_nested():
    made = task_from_arrays(X, Y, XT, Y, shuffle_seed=1)
    assert made.y_train.tolist() == [0, 1] * 4
    assert sorted(made.x_train[0::2, 0]) == [0, 2, 4, 6]
    assert made.x_train[:, 0].tolist() != [0, 8, 2, 10, 4, 12, 6, 14]
    short = task_from_arrays(X, Y, XT, Y, shuffle_seed=1, n_train=2)
    np.testing.assert_array_equal(short.x_train, made.x_train[:2])


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (["dog"] * 4 + ["cat"] * 4, ("cat", "dog"), [1, 0]),
        ([3] * 4 + [7] * 4, (7, 3), [1, 0]),
        ([0] * 4 + [1] * 4, ("cat", "dog"), [0, 1]),
        ([1.0] * 4 + [0.0] * 4, None, [1, 0]),
        ([True] * 4 + [False] * 4, None, [1, 0]),
    ],
)
def test_labels_may_be_names(labels, names, expected):
    made = task_from_arrays(X, labels, XT, labels, class_names=names)
    first = [label for x, label in zip(made.x_train, made.y_train, strict=True) if x[0] in (0, 8)]
    by_x = {float(x[0]): int(y) for x, y in zip(made.x_train, made.y_train, strict=True)}
    assert [by_x[0.0], by_x[8.0]] == expected
    assert len(first) == 2
    assert made.class_names == tuple(str(name) for name in names or (0, 1))


def test_three_classes_and_a_choice_of_classes():
    x = np.arange(9.0).reshape(9, 1)
    y = np.repeat([0, 1, 2], 3)
    made = task_from_arrays(x, y, x, y)
    assert made.y_train.tolist() == [0, 1, 2] * 3
    pair = task_from_arrays(x, y, x, y, classes="2,0")
    assert pair.class_names == ("2", "0")
    assert pair.x_train[:, 0].tolist() == [6, 0, 7, 1, 8, 2]
    assert pair.y_train.tolist() == [0, 1] * 3
    assert pair.y_test.tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        ([3] * 4 + [7] * 4, None, r"class_names=\(3, 7\)"),
        ([0] * 8, None, "K at least 2"),
        ([-1] * 4 + [1] * 4, None, "must be 0 to K - 1"),
        ([0.5] * 4 + [1] * 4, None, "must be 0 to K - 1"),
        ([float("nan")] * 4 + [1] * 4, None, "must be 0 to K - 1"),
        (["cat"] * 8, None, "must be 0 to K - 1"),
        (["cat"] * 4 + ["dgo"] * 4, ("cat", "dog"), "Did you mean 'dog'"),
        (Y, ("cat", "cat"), "different names"),
        (Y, ("cat",), "different names"),
        (Y.reshape(8, 1), None, "one label a sample"),
        (np.array([[1], [2, 3]] * 4, dtype=object), None, "cannot be a label"),
        (Y[:5], None, "for 5 training labels"),
    ],
)
def test_labels_that_cannot_be(labels, names, said):
    with pytest.raises(UsageError, match=said):
        task_from_arrays(X, labels, XT, Y, class_names=names)


def test_unknown_test_labels_are_named():
    with pytest.raises(UsageError, match=r"y_test\[1\] is 2"):
        task_from_arrays(X, Y, XT[:2], [0, 2])


def test_unequal_classes_need_a_number():
    with pytest.raises(UsageError, match=r"unequal numbers.*\n.*\n.*n_train=6"):
        task_from_arrays(X[:7], Y[:7], XT, Y)
    assert task_from_arrays(X[:7], Y[:7], XT, Y, n_train=6).n_train == 6
    with pytest.raises(UsageError, match="largest possible here is 6"):
        task_from_arrays(X[:7], Y[:7], XT, Y, n_train=8)
    with pytest.raises(UsageError, match="an even number"):
        task_from_arrays(X[:7], Y[:7], XT, Y, n_train=7)


def test_bad_values_are_refused():
    bad = X.copy()
    bad[5, 0] = np.nan
    with pytest.raises(UsageError, match="sample 5 holds a value that is infinite or not a number"):
        task_from_arrays(bad, Y, XT, Y)
    with pytest.raises(UsageError, match="not a number"):
        task_from_arrays(X, Y, bad, Y)
    twice = X.copy()
    twice[4] = twice[0]
    with pytest.raises(ImpossibleTaskError, match="samples 0 and 4 are the same input"):
        task_from_arrays(twice, Y, XT, Y)
    with pytest.raises(UsageError, match="must be numbers"):
        task_from_arrays(X.astype(str), Y, XT, Y)


def test_a_sequence_of_pairs():
    pairs = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
    tests = [(x, np.int64(y)) for x, y in zip(XT, Y, strict=True)]
    made = task_from_dataset(pairs, tests, n_train=4)
    assert made.checksum == task_from_arrays(X, Y, XT, Y, n_train=4).checksum
    with pytest.raises(UsageError, match="test data set is empty"):
        task_from_dataset(pairs, [])
    with pytest.raises(UsageError, match="different shapes"):
        task_from_dataset([*pairs, (np.zeros(3), 0)], tests)


def test_a_torch_data_set():
    torch = pytest.importorskip("torch")
    make = torch.utils.data.TensorDataset
    train = make(torch.tensor(X), torch.tensor(Y))
    test = make(torch.tensor(XT), torch.tensor(Y))
    assert task_from_dataset(train, test).checksum == task_from_arrays(ARRAYS).checksum


# .npz files


def test_npz(tmp_path):
    path = tmp_path / "mine.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, **ARRAYS, class_names=np.array(["cat", "dog"]), other=np.zeros(3))
        made = task_from_npz(path)
        assert made.checksum == task_from_arrays(ARRAYS).checksum
        assert made.class_names == ("cat", "dog")
        assert made.name == "mine"
        assert len(made.sources["files"][0]["sha256"]) == 64
    by_name = task(str(path), n_train=4)
    np.testing.assert_array_equal(by_name.x_train, made.x_train[:4])
    again = task(**by_name.config)
    assert again.checksum == by_name.checksum
    swapped = task(path, ("dog", "cat"), n_train=4)
    assert swapped.y_train.tolist() == [0, 1, 0, 1]
    assert swapped.x_train[0, 0] == 8
    assert task(**swapped.config).checksum == swapped.checksum


def test_npz_in_another_memory_order_and_byte_order(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{**ARRAYS, "x_train": np.asfortranarray(X.astype(">f4"))})
    assert task_from_npz(path).checksum == task_from_arrays(ARRAYS).checksum


def test_npz_missing(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        task(str(tmp_path / "none.npz"))
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X, y_train=Y)
    with pytest.raises(
        UsageError, match=r"lacks x_test, y_test\.\nWhy:   it holds x_train, y_train"
    ):
        task_from_npz(path)


def test_npz_objects_are_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{**ARRAYS, "x_train": X.astype(object)}, allow_pickle=True)
    with pytest.raises(UsageError, match="holds objects"):
        task_from_npz(path)
    np.savez(path, **{**ARRAYS, "x_train": X.astype(complex)})
    with pytest.raises(UsageError, match="dtype complex128"):
        task_from_npz(path)


def member(shape: str, body: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def with_member(path, data: bytes, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for key in ("y_train", "x_test", "y_test"):
            buffer = io.BytesIO()
            np.save(buffer, ARRAYS[key])
            archive.writestr(f"{key}.npy", buffer.getvalue())
        archive.writestr("x_train.npy", data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        member("(8, 2)", bytes(127)),
        member("(8, 2)", bytes(129)),
        member("(-1, 2)"),
        member("(100000000, 2)"),
        member("'x'"),
        member("(8, 2"),
        member("(8, 2)", bytes(128), descr="'<f9'"),
        member("(8, 2)", bytes(128), descr="[" * 500),
        b"\x93NUMPY\x09\x00" + member("(8, 2)", bytes(128))[8:],
    ],
)
def test_npz_with_false_sizes_takes_no_memory(tmp_path, data):
    path = with_member(tmp_path / "mine.npz", data, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(DamagedFileError) as caught:
        task_from_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.what


def test_npz_larger_than_allowed(tmp_path):
    path = with_member(tmp_path / "mine.npz", member("(1000000000000, 2)"))
    with pytest.raises(UsageError, match="take more than 4294967296 bytes"):
        task_from_npz(path)
    np.savez(path, **ARRAYS)
    with pytest.raises(UsageError, match="take more than 383 bytes"):
        task_from_npz(path, max_bytes=383)
    assert task_from_npz(path, max_bytes=384).n_train == 8


def test_npz_members_that_are_there_twice(tmp_path):
    path = with_member(tmp_path / "mine.npz", member("(8, 2)", X.tobytes()))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x_train.npy", member("(8, 2)", bytes(128)))
    with pytest.raises(DamagedFileError, match="x_train is there twice"):
        task_from_npz(path)


def test_damaged_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **ARRAYS)
    good = path.read_bytes()
    for data in (b"", b"hello", good[: len(good) // 2]):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match="no readable"):
            task_from_npz(path)


@pytest.mark.filterwarnings("ignore:Reading `.npy`")
def test_flipped_bytes_never_escape_as_another_error(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **ARRAYS)
    good = path.read_bytes()
    for place in range(0, len(good), 3):
        for mask in (0x01, 0xFF):
            flipped = bytearray(good)
            flipped[place] ^= mask
            path.write_bytes(bytes(flipped))
            try:
                task_from_npz(path)
            except BiasgpuError:
                continue
