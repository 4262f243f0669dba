"""Bad input at the command line: an error of the house form, its exit code, and no work done."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from biasgpu.cli.root import root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


def check(result: Result, code: int, what: str) -> None:
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert re.search(what, result.stderr), result.stderr
    assert "Traceback" not in result.stderr and "bug in biasgpu" not in result.stderr


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("--data mnits", "unknown data set 'mnits'. Did you mean 'mnist'?"),
        ("--arch lenett", "unknown architecture 'lenett'. Did you mean 'lenet'?"),
        ("--prior kaimng-normal", "Did you mean 'kaiming-normal'?"),
        ("--prior uniform:-1", "uniform: the parameter is '-1'"),
        ("--engine gpu", "unknown engine 'gpu'"),
        ("--head logit", "unknown head 'logit'. Did you mean 'logits'?"),
        ("--bias zeros", "unknown bias 'zeros'. Did you mean 'zero'?"),
        ("--selection publishd", "Did you mean 'published'?"),
        ("--width 0", "width is 0"),
        ("--width wide", "width is 'wide'"),
        ("--depth -1", "depth is -1"),
        ("--arch lenet --width 0/6", "width is '0/6'"),
        ("--arch lenet --width 1/500", "leaves a layer"),
        ("--arch lenet --depth 3c-1f", "unknown LeNet depth '3c-1f'"),
        ("--arch lenet --data kink", "needs inputs of shape"),
        ("--n-train 3", "n_train is 3; it must be an even number"),
        ("--n-train 0", "n_train is 0"),
        ("--n-train -2", "n_train is -2"),
        ("--n-train 1000", "n_train is 1000; the largest possible here is 144"),
        ("--classes 7", "1 class named"),
        ("--classes 7,7", "named twice"),
        ("--classes 7,12", "unknown class '12'"),
        ("--classes 7,0,1 --head one-logit --n-train 6", "one-logit head tells two classes apart"),
        ("--fits 0", "--fits is '0'"),
        ("--candidates 0", "--candidates is '0'"),
        ("--time 0", "--time is '0'"),
        ("--time soon", "--time is 'soon'"),
        ("--fits", "option '--fits' requires an argument"),
        ("--seed -1", "seed is -1"),
        ("--threads 0", "threads is 0"),
        ("--curve-fits -1", "curve_fits is -1"),
        ("--confidence 2", "confidence is 2"),
        ("--first-index 1", "first_index is 1"),
        ("--data missing.npz", "there is no file missing.npz"),
        ("--data-dir nowhere", "nowhere does not exist"),
    ],
)
def test_settings_that_cannot_be(own_folder: Path, arguments: str, what: str) -> None:
    check(run("sample", *arguments.split()), 2, re.escape(what))
    assert list(own_folder.iterdir()) == []


def test_no_gpu(own_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    check(run("sample", "--device", "cuda"), 5, "there is no device cuda")
    assert list(own_folder.iterdir()) == []


def test_a_task_that_nothing_fits(own_folder: Path) -> None:
    x = np.ones((4, 3), np.float32)
    y = np.array([0, 1, 0, 1])
    np.savez("same.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    arguments = ("sample", "--data", "same.npz", "--n-train", "2", "--width", "4")
    check(run(*arguments), 1, "no network can fit this task")
    assert [path.name for path in own_folder.iterdir()] == ["same.npz"]


def test_an_npz_with_objects() -> None:
    x = np.array([[1, "a"], [2, None]], dtype=object)
    np.savez("objects.npz", x_train=x, y_train=[0, 1], x_test=x, y_test=[0, 1], allow_pickle=True)
    check(run("sample", "--data", "objects.npz", "--n-train", "2"), 2, "holds objects")


def test_an_npz_that_is_none() -> None:
    Path("text.npz").write_text("no archive")
    check(run("sample", "--data", "text.npz", "--n-train", "2"), 4, "text.npz")


def test_an_npz_with_a_hostile_path() -> None:
    with zipfile.ZipFile("evil.npz", "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((2, 2), np.float32))
        archive.writestr("../../x_train.npy", buffer.getvalue())
    result = run("sample", "--data", "evil.npz", "--n-train", "2")
    assert result.exit_code in (2, 4)
    assert result.stderr.startswith("Error: ")
    assert not Path("../../x_train.npy").exists()


def test_a_truncated_idx_file() -> None:
    folder = Path("mnist")
    folder.mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte").write_bytes(b"\x00\x00\x08\x03\x00\x00")
    check(run("sample", "--data", "mnist", "--data-dir", "."), 4, "-ubyte")


@pytest.mark.parametrize("command", ["show", "verify", "export", "plot", "sample"])
def test_files_that_hold_no_run(command: str) -> None:
    with h5py.File("foreign.h5", "w") as file:
        file["x"] = [1, 2, 3]
    Path("empty.h5").write_bytes(b"")
    Path("text.h5").write_text("no run\n")
    Path("folder.h5").mkdir()
    for name in ("foreign.h5", "empty.h5", "text.h5", "folder.h5"):
        more = {"export": ["-o", "x.safetensors"], "plot": ["-o", "x.png"]}.get(command, [])
        arguments = ["--resume", name] if command == "sample" else [name, *more]
        check(run(command, *arguments), 4, re.escape(name))


@pytest.mark.parametrize(
    "arguments",
    [
        *("show F", "verify F", "status F", "cite F", "export F -o x.safetensors"),
        *("plot F -o x.png", "sample --resume F", "sample --data F", "show F/F"),
    ],
)
def test_files_that_are_not_there(arguments: str) -> None:
    name = "missing.npz" if "--data" in arguments else "missing.h5"
    result = run(*arguments.replace("F", name).split())
    check(result, 2, f"there is no file .*{re.escape(name)}")
    assert "Why: " in result.stderr and "Fix: " in result.stderr


@pytest.mark.parametrize(
    "arguments", ["sample --overwrite -o there", "export run.h5 -o there", "plot run.h5 -o there"]
)
def test_an_output_that_is_a_folder(arguments: str) -> None:
    Path("there").mkdir()
    small = "--data kink --bias prior --n-train 2 --width 4 --engine reference --fits 1"
    assert run("sample", *small.split(), "-o", "run.h5").exit_code == 0
    more = small.split() if arguments.startswith("sample") else []
    result = run(*arguments.split(), *more)
    check(result, 3, "there exists, and is a folder")
    fix = result.stderr.partition("Fix: ")[2]
    assert "-o there/" in fix
    assert not any(word in fix for word in ("resume", "overwrite", "delete"))


def test_damaged_runs() -> None:
    small = "--data kink --bias prior --n-train 2 --width 4 --engine reference --fits 3 -o run.h5"
    assert run("sample", *small.split()).exit_code == 0
    whole = Path("run.h5").read_bytes()
    Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[4000] ^= 0xFF
    Path("flipped.h5").write_bytes(flipped)
    for name in ("cut.h5", "flipped.h5"):
        check(run("show", name), 4, f"{name} is damaged")
        check(run("sample", "--resume", name), 4, f"{name} is damaged")
