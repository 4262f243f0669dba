"""Commands on a results file: show, verify, status, plot, export, cite; and doctor."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.numpy import load_file

import biasgpu
from biasgpu import doctor
from biasgpu.cli.root import root
from biasgpu.results import liveness


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


def json_of(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    biasgpu.sample(
        biasgpu.task("kink", n_train=4),
        biasgpu.mlp(6, 1, bias="prior"),
        fits=12,
        engine="reference",
        keep_predictions=True,
        output=path,
    )
    return path


def test_show(stored: Path) -> None:
    result = run("show", str(stored))
    assert result.exit_code == 0
    for words in ("kink below vs above", "mlp width 6 depth 1", "fits             12", "n_train"):
        assert words in result.stdout
    shown = json_of("show", str(stored), "--top", "3")
    expected = biasgpu.open(stored)
    assert {key: shown[key] for key in expected.summary()} == expected.summary()
    best = [fit["test_accuracy"] for fit in shown["top_fits"]]
    assert best == sorted(expected.test_accuracy.tolist(), reverse=True)[:3]


def test_show_one_network(stored: Path) -> None:
    expected = biasgpu.open(stored)
    fit = expected.fits_at(4)
    shown = json_of("show", str(stored), "--index", str(fit.index[2]))
    assert shown["fit"] is True
    assert (shown["prefix"], shown["train_accuracy"]) == (4, 1.0)
    assert shown["margin"] == fit.margin[2]
    assert shown["test_accuracy"] == pytest.approx(fit.test_accuracy[2], abs=1e-12)
    assert list(shown["test_accuracy_per_class"]) == ["below", "above"]
    weight = expected[2].weights()["1.weight"]
    layer = next(layer for layer in shown["layers"] if layer.get("name") == "1")
    assert layer["weight_shape"] == [6, 2]
    assert layer["frobenius_norm"] == pytest.approx(np.linalg.norm(weight), rel=1e-6)
    assert layer["spectral_norm"] == pytest.approx(np.linalg.norm(weight, 2), rel=1e-6)
    other = run("show", str(stored), "--index", str(int(fit.index[2]) ^ 1))
    assert other.exit_code == 0
    assert "no fit" in other.stdout
    assert f"Note: {int(fit.index[2]) ^ 1} is not a fit of this run" in other.stderr
    assert run("show", str(stored), "--index", str(fit.index[2]), "--json").stderr == ""
    assert run("show", str(stored), "--index", "-1").exit_code == 2


def test_verify(stored: Path) -> None:
    result = run("verify", str(stored))
    assert result.exit_code == 0
    assert "all as stored" in result.stdout
    found = json_of("verify", str(stored))
    assert found["ok"] is True
    assert found["n_checked"] == len(biasgpu.open(stored).fits) > 12


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("margin", lambda v: v + 1e-9, "margin is"),
        ("prefix", lambda v: np.maximum(v - 1, 0), "prefix is"),
        ("test_accuracy", lambda v: v / 2, "test accuracy is"),
        ("test_accuracy_per_class", lambda v: v / 2, "test accuracy of class"),
        ("test_predictions", lambda v: 1 - v, "test predictions differ"),
    ],
)
def test_verify_finds_what_is_not_true(
    stored: Path, monkeypatch: pytest.MonkeyPatch, column: str, change: Any, words: str
) -> None:
    import dataclasses

    true = biasgpu.open(stored)
    fits = dataclasses.replace(true.fits, **{column: change(getattr(true.fits, column))})
    monkeypatch.setattr(biasgpu, "open", lambda _: dataclasses.replace(true, fits=fits))
    result = run("verify", str(stored))
    assert result.exit_code == 1
    assert words in result.stdout
    found = run("verify", str(stored), "--json")
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert report["ok"] is False
    assert report["n_wrong"] > 0


def test_status(stored: Path) -> None:
    status = json_of("status", str(stored))
    assert (status["state"], status["n_fits"]) == ("finished", 12)
    watched = run("status", str(stored), "--watch", "--every", "0.1s")
    assert watched.exit_code == 0
    assert "finished" in watched.stdout and "12 fits" in watched.stdout


def test_status_knows_a_killed_run(tmp_path: Path) -> None:
    def line(pid: int, updated: str, **more: str) -> str:
        status = {"state": "running", "pid": pid, "updated": updated, "n_fits": 3, **more}
        (tmp_path / "a.h5.status.json").write_text(json.dumps(status))
        result = run("status", str(tmp_path / "a.h5"))
        assert result.exit_code == 0, result.stderr
        return result.stdout

    no_process = 2**22 + 1  # above the largest number Linux gives
    assert "killed" in line(no_process, "2020-01-01T00:00:00+00:00")
    assert "running" in line(1, "2020-01-01T00:00:00+00:00")
    assert "running" in line(no_process, "2999-01-01T00:00:00+00:00")
    here = platform.node()
    assert "killed" in line(no_process, "2999-01-01T00:00:00+00:00", host=here)
    assert "running" in line(1, "2020-01-01T00:00:00+00:00", host=here)
    assert "running" in line(no_process, "2999-01-01T00:00:00+00:00", host=f"not-{here}")


def test_a_process_that_was_killed_and_not_asked_after_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    status = {"pid": child.pid, "host": platform.node()}
    assert not liveness.gone(status)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert liveness.gone(status) or not Path("/proc").exists()
    child.wait()
    assert liveness.gone(status)


def test_a_killed_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    options = [
        *("--data", "kink", "--bias", "prior", "--n-train", "4", "--width", "6", "--depth", "1"),
        *("--engine", "reference", "--quiet", "--time", "60s", "-o", str(path)),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "biasgpu", "sample", *options],
        env={**os.environ, "PYTHONPATH": str(Path(biasgpu.__file__).parent.parent)},
    )
    try:
        end_s = time.monotonic() + 60
        while not path.exists() or not biasgpu.open(path).n_fits:
            assert time.monotonic() < end_s
            time.sleep(0.05)
        assert json_of("status", str(path))["state"] == "running"
        assert "still running" in run("show", str(path)).stdout
        assert json_of("show", str(path))["stopped_by"] == ""
    finally:
        process.kill()
        process.wait()
    assert json_of("status", str(path))["state"] == "killed"
    shown = run("show", str(path)).stdout
    assert "cut off" in shown and "stopped by" not in shown
    assert json_of("show", str(path))["stopped_by"] == "killed"
    path.with_name("run.h5.status.json").unlink()
    assert json_of("show", str(path))["stopped_by"] == "killed"
    assert run("sample", "--resume", str(path), "--candidates", "1").exit_code == 0
    assert json_of("show", str(path))["stopped_by"] == "candidates"


def test_export(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "fits.safetensors"
    done = json_of("export", str(stored), "-o", str(path), "--fits", "3")
    expected = biasgpu.open(stored)
    assert done["indices"] == expected.fits_at(4).index[:3].tolist()
    tensors = load_file(path)
    assert len(tensors) == 3 * 4
    for place, index in enumerate(done["indices"]):
        for name, array in expected[place].weights().items():
            np.testing.assert_array_equal(tensors[f"{index}/{name}"], array)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["seed"] == "0"
    assert json.loads(metadata["architecture"]) == expected.architecture.to_config()
    before = path.read_bytes()
    refused = run("export", str(stored), "-o", str(path))
    assert refused.exit_code == 3
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["fits.safetensors"]


def test_export_by_index(stored: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "two.safetensors")
    assert json_of("export", str(stored), "-o", path, "--index", "0", "--index", "5")[
        "indices"
    ] == [0, 5]
    fit = str(biasgpu.open(stored).fits.index[0])
    other = "999999999"
    result = run("export", str(stored), "-o", f"{path}.2", "--index", fit, "--index", other)
    assert result.exit_code == 0
    assert f"Note: {other} is not a fit of this run" in result.stderr
    assert f"Note: {fit} " not in result.stderr
    for arguments in (["--index", "0", "--index", "0"], ["--index", "1", "--fits", "2"]):
        result = run("export", str(stored), "-o", f"{path}.x", *arguments)
        assert result.exit_code == 2
        assert not Path(f"{path}.x").exists()


def test_plot(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    assert json_of("plot", str(stored), str(stored), "-o", str(path))["output"] == str(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert run("plot", str(stored), "-o", str(path)).exit_code == 3
    assert run("plot", str(stored), "-o", str(path), "--overwrite").exit_code == 0
    assert run("plot", str(stored), "-o", str(tmp_path / "figure.gif")).exit_code == 2
    assert run("plot", str(stored), "-o", "x.png", "--label", "a", "--label", "b").exit_code == 2


def test_cite(stored: Path) -> None:
    general, used = run("cite").stdout, run("cite", str(stored)).stdout
    assert general == biasgpu.citation() + "\n"
    assert "peleg2024bias" in general and "haldane1945" not in general
    assert "haldane1945" in used and "he2015" in used and "lecun1998" not in used
    assert general.count("{") == general.count("}")
    assert json_of("cite")["keys"][0] == "biasgpu"


def test_doctor() -> None:
    found = json_of("doctor", "--time", "0.1s", "--seed", "4")
    assert found["self_test"]["ok"] is True
    assert found["self_test"]["seed"] == 4
    tested = {check["engine"] for check in found["self_test"]["engines"]}
    assert tested == {name for name, state in found["engines"].items() if state == "available"} - {
        "reference"
    }
    assert all(check["n_draws"] > 0 for check in found["self_test"]["engines"])
    people = run("doctor", "--time", "0.1s")
    assert people.exit_code == 0
    assert "agrees" in people.stdout and "DISAGREES" not in people.stdout


def test_doctor_finds_an_engine_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = doctor.engines.make

    def make(name: str, *arguments: Any, **options: Any) -> Any:
        engine = right("reference", *arguments, **{**options, "device": None})
        if name == "cpu":
            screen = engine.screen
            monkeypatch.setattr(engine, "screen", lambda *draws: screen(*draws) ^ 1)
        return engine

    monkeypatch.setattr(doctor.engines, "make", make)
    result = run("doctor", "--time", "0.1s")
    assert result.exit_code == 1
    assert "DISAGREES  cpu on cpu: " in result.stdout
    assert "by the law" in result.stdout
