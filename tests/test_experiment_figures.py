"""Figures of definitions: each kind that a study has, and none that no cell could show."""

from __future__ import annotations

from pathlib import Path

import pytest

import biasgpu
from biasgpu.errors import UsageError
from biasgpu.experiments.drawing import KEYS, NEEDS, SAYS, TAKES, FigureSpec
from biasgpu.experiments.text import parse
from biasgpu.study.draw import BY_LOSS, KINDS
from tests.experiments import SMALL, write


def test_every_kind_of_a_study_can_be_asked_for() -> None:
    assert set(TAKES) == set(SAYS) == set(KINDS)
    assert set(NEEDS) <= set(KINDS)
    for kind in KINDS:
        spec = FigureSpec.from_config({"kind": kind}, 1)
        assert spec.says
        assert "{" not in spec.says
        assert spec.loss == ("normalized" if kind in BY_LOSS else "")
        for key in set(KEYS) - {"kind", *TAKES[kind]}:
            with pytest.raises(UsageError, match=f"has {key}, and its kind is '{kind}'"):
                FigureSpec.from_config({"kind": kind, key: "normalized"}, 1)


@pytest.mark.parametrize(
    ("kind", "settings", "needed"),
    [
        ("histogram", "measures = false", "measures"),
        ("bins", "measures = false", "measures"),
        ("epochs", "measures = true", "keep_epochs"),
        ("gradient-norm", "measures = true", "gradient_norms"),
    ],
)
def test_a_figure_that_no_cell_can_show_is_refused_before_anything_runs(
    kind: str, settings: str, needed: str
) -> None:
    text = SMALL.replace("seed = 5", f"seed = 5\n{settings}")
    with pytest.raises(UsageError, match="no study has what it shows") as caught:
        parse(text.replace('kind = "histogram"\nn = 4', f'kind = "{kind}"'), "mine.toml")
    assert needed in caught.value.why
    assert needed in caught.value.fix


def test_kept_epochs_have_a_figure_of_their_own_and_enter_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biasgpu import figures

    shown: list[set[tuple[str, int | None]]] = []
    histogram = figures.histogram

    def noted(cells, **given):
        shown.append({(cell.way, cell.epoch) for cell in cells})
        return histogram(cells, **given)

    monkeypatch.setattr(figures, "histogram", noted)
    text = SMALL.replace("widths = [4, 6]", "widths = [4]").replace(
        "[[figure]]", 'keep_epochs = [5]\n[[figure]]\nkind = "epochs"\n[[figure]]', 1
    )
    made = biasgpu.run_definition(write(tmp_path, text), output=tmp_path / "made", engine="cpu")
    names = {path.name for path in (made.path / "figures").iterdir()}
    assert {"epochs-normalized.svg", "histogram-normalized-n4.svg"} <= names
    assert shown == [
        {("sgd", 5), ("sgd", None)},
        {("guess-and-check", None), ("sgd", None)},
    ]
    page = made.report.read_text()
    assert (
        'alt="2-D histograms of Lipschitz-normalised training loss against test accuracy, at '
        in page
    )
    assert "Not drawn" not in page
