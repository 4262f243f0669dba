"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import batch_norm, gpu_table, records, study_table, table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_speeds_is_that_of_the_last_run() -> None:
    assert table.markdown(table.latest()) in README
    batch_norms = records.latest(records.read(), batch_norm.WORKS.__contains__)
    assert table.markdown(batch_norms) in README
    on_gpu = gpu_table.markdown(records.read(records.PREDICTIONS), gpu_table.measured())
    assert on_gpu in README
    assert on_gpu in (ROOT / "docs" / "gpu.md").read_text()
    study = records.latest(records.read(), study_table.belongs)
    assert study_table.markdown(study) in README


def test_pictures_and_pages_exist() -> None:
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (root / link).exists()] == []


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    if "majority" in code:
        # Random networks generalise from a majority rule, and not from parity.
        majority, parity = (float(value) for value in re.findall(r"test accuracy (\S+)", printed))
        assert majority > 0.55
        assert abs(parity - 0.5) < 0.02
