"""`biasgpu sample`: a run, its summary, its progress, resuming and refusing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import biasgpu
from biasgpu.cli.naming import free_path, slug
from biasgpu.cli.root import root

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--data", "kink", "--bias", "prior", "--n-train", "4", "--width", "6", "--depth", "1"),
    *("--engine", "reference"),
]
PROMISED = {
    *("n_candidates", "n_fits", "fit_probability", "fit_probability_interval"),
    *("minus_log2_fit_probability", "candidates_per_s", "elapsed_s", "engine", "device", "seed"),
    *("output", "test_accuracy", "curve"),
}


def sample(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["sample", *arguments])


def summary_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_json_is_the_only_thing_on_stdout_and_tells_all() -> None:
    result = sample(*SMALL, "--fits", "5", "-o", "a.h5", "--json")
    summary = summary_of(result)
    assert set(summary) >= PROMISED
    assert result.stderr == ""
    assert (summary["n_fits"], summary["engine"], summary["seed"]) == (5, "reference", 0)
    assert summary["output"] == "a.h5"
    assert set(summary["test_accuracy"]) >= {"mean", "std", "min", "max"}
    assert [point["n_train"] for point in summary["curve"]] == [2, 4]
    for point in summary["curve"]:
        assert set(point) >= {
            "n_train", "n_fits", "minus_log2_fit_probability", "interval", "test_accuracy"
        }  # fmt: skip
    low, high = summary["fit_probability_interval"]
    assert 0 < low < summary["fit_probability"] < high < 1


def test_the_command_does_what_one_call_does() -> None:
    summary = summary_of(sample(*SMALL, "--fits", "5", "--seed", "3", "-o", "a.h5", "--json"))
    task = biasgpu.task("kink", n_train=4)
    run = biasgpu.sample(task, biasgpu.mlp(6, 1, bias="prior"), fits=5, seed=3, engine="reference")
    stored = biasgpu.open("a.h5")
    assert stored.fits.index.tolist() == run.fits.index.tolist()
    assert summary["n_candidates"] == run.n_candidates
    assert summary["curve"] == run.curve


def test_the_summary_is_for_people() -> None:
    result = sample(*SMALL, "--fits", "5", "-o", "a.h5")
    assert result.exit_code == 0
    for words in (
        "Found 5 networks",
        "-log2 P",
        "on average",
        "Stored in a.h5",
        "biasgpu show a.h5",
    ):
        assert words in result.stdout
    assert "kink below vs above, n_train 4" in result.stderr
    assert "Until 5 fits" in result.stderr
    assert "candidates |" in result.stderr, "a progress line at once, without a terminal"


def test_quiet() -> None:
    assert sample(*SMALL, "--fits", "2", "-o", "a.h5", "--quiet").stderr == ""


def test_the_file_gets_a_readable_name_of_its_own() -> None:
    name = "kink-below-above-n4-mlp-w6-d1-bias-prior-kaiming-normal-s0"
    for number in ("", "-2", "-3"):
        summary = summary_of(sample(*SMALL, "--candidates", "4", "--json"))
        assert summary["output"] == f"runs/{name}{number}.h5"
        assert Path(summary["output"]).is_file()


def test_names_are_safe() -> None:
    task = biasgpu.task("kink", n_train=2)
    ensemble = biasgpu.lenet("1/6,1/6,1/24,1/24"), biasgpu.priors.make("uniform:0.2"), 7
    name = slug(task, *ensemble)
    assert name == "kink-below-above-n2-lenet-w1-6-1-6-1-24-1-24-d2c-3f-uniform-0.2-s7"
    assert free_path(name).parent == Path("runs")


@pytest.mark.parametrize("rule", [["--candidates", "10"], ["--time", "0.2s"], ["--fits", "1"]])
def test_each_stopping_rule_suffices(rule: list[str]) -> None:
    summary = summary_of(sample(*SMALL, *rule, "-o", "a.h5", "--json"))
    assert summary["stopped_by"] == {"--candidates": "candidates", "--time": "time"}.get(
        rule[0], "fits"
    )


def test_without_a_rule_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(*_: Any, **settings: Any) -> None:
        seen.update(settings)
        raise biasgpu.errors.RefusedError("enough seen.")

    monkeypatch.setattr(biasgpu, "sample", look)
    assert sample(*SMALL).exit_code == 3
    assert (seen["fits"], seen["candidates"], seen["time_s"]) == (3000, None, 600.0)
    assert sample(*SMALL, "--time", "1h").exit_code == 3
    assert (seen["fits"], seen["candidates"], seen["time_s"]) == (None, None, 3600.0)


def test_an_existing_file_is_refused_unless_asked_for() -> None:
    once = [*SMALL, "--fits", "2", "-o", "a.h5"]
    assert sample(*once).exit_code == 0
    before = Path("a.h5").read_bytes()
    refused = sample(*once)
    assert refused.exit_code == 3
    assert refused.stderr.startswith("Error: a.h5 exists.")
    assert Path("a.h5").read_bytes() == before
    assert sample(*once, "--overwrite").exit_code == 0
    assert Path("a.h5.bak").read_bytes() == before


def test_resuming_gives_what_one_run_gives() -> None:
    whole = summary_of(sample(*SMALL, "--fits", "12", "-o", "whole.h5", "--json"))
    assert sample(*SMALL, "--fits", "5", "-o", "a.h5").exit_code == 0
    resumed = sample("--resume", "a.h5", "--fits", "12", "--engine", "reference", "--json")
    parts = summary_of(resumed)
    for key in ("n_fits", "n_candidates", "fit_probability", "curve"):
        assert parts[key] == whole[key]
    one, other = biasgpu.open("whole.h5").fits, biasgpu.open("a.h5").fits
    assert one.index.tolist() == other.index.tolist()


def test_resuming_takes_the_same_settings_and_refuses_others() -> None:
    assert sample(*SMALL, "--fits", "2", "--seed", "5", "-o", "a.h5").exit_code == 0
    again = ["--resume", "a.h5", "--fits", "3"]
    assert sample(*again, *SMALL, "--seed", "5").exit_code == 0
    for option, value, words in (
        ("--width", "7", "width is 6 in the file, 7 now"),
        ("--prior", "uniform", "prior is kaiming-normal in the file, uniform now"),
        ("--seed", "6", "seed is 5 in the file, 6 now"),
        ("--data-seed", "9", "data_seed is 200 in the file, 9 now"),
        ("--curve-fits", "7", "curve_fits is 100 in the file, 7 now"),
    ):
        refused = sample(*again, option, value)
        assert refused.exit_code == 3
        assert words in refused.stderr
        assert "checksum" not in refused.stderr
    assert sample(*again, "-o", "b.h5").exit_code == 2
    assert biasgpu.open("a.h5").n_fits == 3


def test_a_finished_run_says_so() -> None:
    assert sample(*SMALL, "--fits", "2", "-o", "a.h5").exit_code == 0
    done = sample("--resume", "a.h5")
    assert done.exit_code == 0
    assert "has reached its stopping rule" in done.stderr


def test_predictions_are_kept_on_request() -> None:
    assert sample(*SMALL, "--fits", "2", "-o", "a.h5", "--keep-predictions").exit_code == 0
    kept = biasgpu.open("a.h5").fits.test_predictions
    assert kept is not None and kept.shape[1] == 2000


def test_an_interruption_keeps_everything_and_says_how_to_go_on() -> None:
    arguments = ["sample", *SMALL, "--time", "60s", "-o", "a.h5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "biasgpu", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    status = Path("a.h5.status.json")
    end = time.monotonic() + 60
    while time.monotonic() < end:  # until something is found
        if status.exists() and json.loads(status.read_text())["n_candidates"]:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "To go on: biasgpu sample --resume a.h5" in stderr
    assert stdout == ""
    run = biasgpu.open("a.h5")
    assert run.n_candidates > 0
    assert run.stop_reason == "interrupted"
    more = run.n_fits + 1
    assert sample("--resume", "a.h5", "--fits", str(more), "--engine", "reference").exit_code == 0
    assert biasgpu.open("a.h5").n_fits == more
