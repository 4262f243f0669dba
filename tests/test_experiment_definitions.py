"""Definitions: read strictly, written to say the same again, scaled; and the published."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

import biasgpu
from biasgpu import experiments
from biasgpu.errors import UsageError
from biasgpu.experiments.catalogue import asked
from biasgpu.experiments.definition import Definition, scaled
from biasgpu.experiments.text import of_study, parse, with_limits
from biasgpu.study import Study
from biasgpu.study.jobs import jobs
from tests.experiments import SMALL

FIGURES = {
    *("fig1", "fig2", "fig5", "fig7", "fig8", "fig9", "fig10", "fig11", "fig12"),
    *("fig14", "fig15", "fig16", "fig17", "fig18", "fig19", "fig20", "fig21", "fig22"),
    *("fig23", "fig24", "fig25", "fig26", "fig27", "chiang"),
    *(f"fig{f}-{a}-{d}" for f in (3, 4) for a in ("lenet", "mlp", "resnet4")
      for d in ("mnist", "cifar10")),
}  # fmt: skip


def test_every_published_figure_has_a_name() -> None:
    assert set(experiments.names()) == FIGURES
    entries = {entry.name: entry for entry in experiments.list()}
    assert set(entries) == FIGURES
    for entry in entries.values():
        assert entry.title
        assert entry.task.startswith(("mnist", "cifar10"))
        if not entry.problem.startswith("not with this version"):
            assert entry.n_networks
    assert entries["fig5"].n_networks == 16_000
    assert entries["fig5"].claims == ("deeper is worse for both",)
    # 5 widths x 4 data seeds x 16 N x 100, by either way.
    assert entries["fig3-lenet-mnist"].n_networks == 64_000


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_published_definitions_are_as_published(name: str) -> None:
    try:
        definition = experiments.published(name).definition()
    except UsageError as error:  # of an architecture that this version does not have
        assert "resnet4" in error.what
        return
    cifar = ["cifar10"] if name.endswith("cifar10") else ["mnist", "cifar10"]
    for part in definition.parts:
        study = part.study
        assert study.data in cifar or not name.endswith("cifar10")
        if name != "chiang":
            assert study.selection == "published"
            assert dict(definition.otherwise) == {"selection": "biasgpu"}
            for init in study.inits:  # written out for the reader; none of them of our own
                from biasgpu.training.recipe import published_learning_rate

                assert study.rate_from(init) == published_learning_rate(init, study.data)
        if len(study.data_seeds) == 1 and study.classes in (("7", "0"), ("3", "5")):
            assert study.data_seeds == (202,)
        if study.data == "cifar10" and len(study.data_seeds) == 1:
            assert study.data_seeds == (201,)


def test_names_by_their_beginning() -> None:
    assert experiments.published("FIG5").name == "fig5"
    assert experiments.published("chi").name == "chiang"
    with pytest.raises(UsageError, match="6 experiments begin with 'fig3'"):
        experiments.published("fig3")
    with pytest.raises(UsageError, match="Did you mean 'fig5'"):
        experiments.published("figg5")
    with pytest.raises(UsageError, match="unknown experiment ''"):
        experiments.published("")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title", "titel", "unknown key 'titel' of a definition. Did you mean 'title'?"),
        ("widths", "widhts", "unknown setting 'widhts' of a study. Did you mean 'widths'?"),
        ("fits = 10", 'fits = "many"', "[study]: fits is 'many'; it must be a whole number"),
        ("n = [4]\nfits", "n = [3]\nfits", "[study]: n is 3 with n_train 4"),
        ('data = "kink"', 'data = "kinky"', "Did you mean 'kink'?"),
        ("wider is", "winder is", "Did you mean 'wider is better for SGD'?"),
        ('"histogram"', '"histo"', "Did you mean 'histogram'?"),
        ('"histogram"\nn = 4', '"histogram"\nn = 6', "a figure is of n = 6, and no cell has"),
        ('kind = "histogram"', 'kind = "width"', "figure 1 has n, and its kind is 'width'."),
        ("[[figure]]", "[figure]", "figure is {'kind'"),
        ("[study]", "[studies]", "unknown key 'studies'"),
        ("[study]\n", "", "data is a setting of a study, and stands outside of [study]."),
        ("title =", "scale = 0\ntitle =", "scale is 0; it must be a number above 0, up to 1e+06."),
        ("kaiming-uniform = 0.2", "uniform = 0.2", "kaiming-uniform has no learning rate"),
        ("kaiming-uniform = 0.2", 'kaiming-uniform = "x"', "learning_rate is 'x'"),
        ("[[figure]]", '[[part]]\nname = "a/b"\n[[figure]]', "name of part 1 is 'a/b'"),
        ("[[figure]]", '[otherwise]\nfoo = 1\n[[figure]]', "unknown setting 'foo' of a study"),
        ("title =", "title", "cannot be read as TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_suggestion(old: str, new: str, said: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError) as error:
        parse(SMALL.replace(old, new, 1), "mine.toml")
    assert error.value.what.startswith("mine.toml")
    assert said in error.value.what
    assert error.value.why and error.value.fix


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan, "1", True])
def test_scales_that_are_none(scale: object) -> None:
    with pytest.raises(UsageError, match="scale is"):
        Definition.from_config({**tomllib.loads(SMALL), "scale": scale})


def test_a_scale_multiplies_networks_and_nothing_else() -> None:
    study = Study(fits=2000, trained=30, candidates=10**6, networks=3, data_seeds=(1, 2))
    small = scaled(study, 0.1)
    assert (small.fits, small.trained, small.candidates, small.networks) == (200, 5, 10**5, 3)
    from dataclasses import replace

    assert replace(small, fits=2000, trained=30, candidates=10**6, networks=3) == study
    assert scaled(study, 1.0) is study
    assert scaled(study, 2.0).fits == 4000


def test_the_scale_is_written_into_the_text_and_comments_stay() -> None:
    plain = parse(SMALL, "x")
    changed = with_limits(SMALL, plain, 0.25)
    assert changed == "scale = 0.25\n" + SMALL
    again = with_limits(changed, parse(changed, "x"), 0.5)
    assert again == "scale = 0.5\n" + SMALL
    assert with_limits(again, parse(again, "x"), None) == again
    odd = SMALL.replace("title", '"scale" = 0.3 # so\ntitle', 1)
    assert parse(with_limits(odd, parse(odd, "x"), 2), "x").scale == 2.0
    assert parse(changed, "x").studies()["study"].fits == 5


def test_a_time_limit_of_the_whole_replaces_those_of_the_studies() -> None:
    limited = SMALL.replace("time_s = inf", "time_s = 9.0", 1)
    limited += '[otherwise]\nselection = "biasgpu"\n'
    changed = with_limits(limited, parse(limited, "x"), 0.25, 30)
    assert changed == "scale = 0.25\ntime_s = 30.0\n" + limited
    for replaced in (False, True):
        assert parse(changed, "x").studies(replaced=replaced)["study"].time_s == 30.0
    assert parse(limited, "x").studies()["study"].time_s == 9.0
    again = with_limits(changed, parse(changed, "x"), None, 40)
    assert again == "scale = 0.25\ntime_s = 40.0\n" + limited
    without = with_limits(again, parse(again, "x"), None, float("inf"))
    assert parse(without, "x").studies()["study"].time_s is None
    for time_s in (0, -1.0, "60", True, float("nan")):
        with pytest.raises(UsageError, match="time_s is"):
            with_limits(limited, parse(limited, "x"), None, time_s)  # pyright: ignore[reportArgumentType]


def test_parts_share_settings_and_have_folders_of_their_own() -> None:
    text = SMALL.replace("[[figure]]", '[[part]]\nname = "a"\n[[part]]\nname = "b"\nepochs = 3\n'
                         "[[figure]]", 1)  # fmt: skip
    studies = parse(text, "x").studies()
    assert list(studies) == ["study-a", "study-b"]
    assert (studies["study-a"].epochs, studies["study-b"].epochs) == (10, 3)
    # The same initialisations: the seed of a file does not depend on the recipe.
    assert [j.seed for j in jobs(studies["study-a"])] == [j.seed for j in jobs(studies["study-b"])]
    twice = text.replace('"b"', '"a"')
    with pytest.raises(UsageError, match="two parts are called a"):
        parse(twice, "x")


@pytest.mark.parametrize(
    "study",
    [
        Study(),
        Study(time_s=None, inits=(), gradient_norms=True, measures=False),
        Study(architectures=biasgpu.family("lenet", ["1/6:1/6:1/24:1/24", "1"]), n=(4, 16)),
        Study(architectures=(*biasgpu.family("mlp", [3]), *biasgpu.family("lenet", ["1/6"]))),
        Study(inits=("uniform", "kaiming-uniform"),
              learning_rate={"kaiming-uniform": 0.1, "uniform": 0.5}),
        Study(data="slab", architectures=biasgpu.family("mlp", [3, 5], [1, 2], bias="prior")),
        Study(architectures=(biasgpu.Architecture(
            "own", (biasgpu.layers.Flatten(), biasgpu.layers.Dense(3), biasgpu.layers.ReLU())),)),
    ],
)  # fmt: skip
def test_a_study_printed_is_the_same_study(study: Study) -> None:
    definition = parse(of_study(study), "x")
    assert [part.study for part in definition.parts] == [study]


def test_learning_rates_by_initialisation() -> None:
    study = Study(inits=("kaiming-uniform", "uniform"),
                  learning_rate={"uniform": 0.5, "kaiming-uniform": 0.1})  # fmt: skip
    assert (study.rate_from("uniform"), study.rate_from("kaiming-uniform")) == (0.5, 0.1)
    assert study.to_config()["learning_rate"] == {"kaiming-uniform": 0.1, "uniform": 0.5}
    assert Study.from_config(study.to_config()) == study
    assert Study(learning_rate=0.3).rate_from("kaiming-uniform") == 0.3
    assert Study().rate_from("kaiming-uniform") is None
    with pytest.raises(UsageError, match="normal is no initialisation of the study"):
        Study(learning_rate={"kaiming-uniform": 0.1, "kaiming-normal": 0.1})


def test_networks_that_are_asked_for() -> None:
    curve = Study(n_train=8, fits=10, trained=3)
    assert [asked(curve, job) for job in jobs(curve)] == [40, 3, 3, 3, 3]
    one = Study(n_train=8, n=(8,), fits=10, trained=3)
    assert [asked(one, job) for job in jobs(one)] == [10, 3]


def test_data_that_are_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biasgpu.experiments.data import choose

    monkeypatch.setenv("BIASGPU_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("BIASGPU_DATA_DIR", raising=False)
    fig5 = choose(experiments.published("fig5").definition())
    assert fig5.studies["study"].selection == "biasgpu"
    assert fig5.problem == ""
    assert "the official files of mnist are not at hand" in fig5.note
    assert "the subset of MNIST in the package" in fig5.note
    fig9 = choose(experiments.published("fig9").definition())
    assert fig9.problem == "the files of cifar10 are not at hand"
    # Of two studies, the one whose data are there can be made.
    fig19 = choose(experiments.published("fig19").definition())
    assert list(fig19.problems) == ["study-cifar10"]
    empty = choose(experiments.published("fig5").definition(), tmp_path)
    assert empty.problem == f"the files of mnist are not at hand in {tmp_path}"
    # Begun with other images, it goes on with those.
    definition = experiments.published("fig5").definition()
    begun = choose(definition, begun=definition.studies())
    assert begun.studies["study"].selection == "published"


@pytest.mark.parametrize("scale", ["1e300", "9" * 400, "inf", "nan", "true", "-1"])
def test_scales_beyond_all_measure_are_refused(scale: str) -> None:
    with pytest.raises(UsageError, match=r"a number above 0, up to 1e\+06\.") as caught:
        parse(SMALL.replace("title =", f"scale = {scale}\ntitle =", 1), "mine.toml")
    assert len(caught.value.what) < 200


@pytest.mark.parametrize("way", ["priors = []", 'arch = "resnet4"'])
def test_a_study_as_a_definition_has_figures_of_cells_that_it_has(way: str) -> None:
    arch = "" if "arch" in way else 'arch = "lenet"\n'
    text = f"[study]\n{arch}{way}\nn_train = 8\nn = [2, 4]\nkeep_epochs = [3]\n"
    study = parse(text, "mine.toml").parts[0].study
    again = parse(of_study(study), "again.toml")
    assert again.parts[0].study == study
    assert {(one.kind, one.n) for one in again.figures} == {("histogram", 4), ("epochs", 4)}
    with pytest.raises(UsageError, match="a figure is of n = 8, and no cell has that N"):
        parse(f'{text}[[figure]]\nkind = "histogram"\nn = 8\n', "mine.toml")
