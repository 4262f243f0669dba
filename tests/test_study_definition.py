"""A study's definition: one form for what may be said in many, and refusals that help."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import biasgpu
from biasgpu import Study, family, layers
from biasgpu.errors import UsageError
from biasgpu.study.axes import source_label
from biasgpu.study.files import read_settings
from biasgpu.study.updates import differences, extended, updated

STUDIES = {
    "default": Study(),
    "depths": Study(architectures=family("lenet", depths=["2c-3f", "1c-1f"]), n_train=8, n=(4, 8)),
    "layers": Study(
        architectures=(
            *family("lenet", ["1/6", "1/6:1/6:1/24:1/24"]),
            biasgpu.Architecture("tiny", [layers.Flatten(), layers.Dense(3), layers.ReLU()]),
        ),
        data_seeds=(2**64 - 1,),
        inits=(),
        time_s=None,
    ),
    "units": Study(
        data="kink",
        architectures=family("mlp", [4, "inf"], [1, 2], head="one-logit", bias="prior"),
        priors=("uniform:0.2", "kaiming-normal"),
        optimizer="adam",
        learning_rate=0.1,
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_round_trip(name: str) -> None:
    study = STUDIES[name]
    assert Study.from_config(json.loads(json.dumps(study.to_config()))) == study


def test_one_form() -> None:
    plain = Study()
    assert plain.n == tuple(range(2, 17, 2))
    assert plain.classes == ("7", "0")
    assert plain.task_name == "mnist 7 vs 0"
    assert Study(classes=(7, 0)) == Study(data="MNIST".lower(), classes="7,0") == plain  # type: ignore[arg-type]
    assert Study(priors=("uniform:1.0",)) == plain
    by_name = Study.from_config({"arch": "lenet", "widths": "2/6"})
    assert by_name == plain
    assert Study.from_config({"n": [8, 2]}).n == (2, 8)
    assert family("lenet", ["1/6"])[0] == biasgpu.lenet(width="1/6")
    assert family("mlp", ["8"], ["3"])[0] == biasgpu.mlp(width=8, depth=3)


def test_widths_and_depths_are_crossed() -> None:
    made = family("paper-mlp", ["1/6", "2/6"], [2, 3])
    assert [(one.options["width"], one.options["depth"]) for one in made] == [
        ("1/6", 2), ("2/6", 2), ("1/6", 3), ("2/6", 3),
    ]  # fmt: skip
    with_factors = family("lenet", [("1/6", "1/6", "1/24", "1/24")])[0]
    assert with_factors == family("lenet", ["1/6:1/6:1/24:1/24"])[0]
    assert with_factors == biasgpu.lenet(width="1/6,1/6,1/24,1/24")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widht": ["1/6"]}, "unknown setting 'widht' of a study. Did you mean 'widths'?"),
        ({"arch": "lent"}, "unknown architecture 'lent'. Did you mean 'lenet'?"),
        ({"priors": ["unifrm"]}, "unknown prior 'unifrm'. Did you mean 'uniform'?"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'. Did you mean 'adam'?"),
        ({"selection": "publish"}, "unknown selection 'publish'. Did you mean 'published'?"),
        ({"data": "mnits"}, "Did you mean 'mnist'?"),
        ({"classes": ["7", "x"]}, "unknown class 'x'"),
        ({"arch": ["lenet"]}, "arch is ['lenet']; it must be a name"),
        ({"architectures": ["lenet"]}, "this describes no architecture"),
        ({"architectures": [{"width": "1/6"}]}, "this describes no architecture"),
        ({"architectures": [{"arch": "lenet", "wide": 3}]}, "lenet cannot be made with"),
        ({"architectures": [{"arch": "mlp"}], "widths": [3]}, "architectures beside widths."),
        ({"architectures": [3, 4]}, "this describes no architecture: 3."),
        ({"widths": ["1/6", "1/6"]}, "widths names 1/6 twice."),
        ({"widths": ["1/6", "2/12"]}, "architectures names lenet width 1/6"),
        ({"data_seeds": []}, "data_seeds is []; it must be a list of one or more."),
        ({"data_seeds": ["200"]}, "data_seeds is '200'; it must be a whole number."),
        ({"data_seeds": [1, 1]}, "data_seeds names 1 twice."),
        ({"priors": [], "inits": []}, "neither a prior nor an initialisation."),
        ({"n_train": "8"}, "n_train is '8'; it must be a whole number"),
        ({"n_train": 7}, "n is 7 with n_train 7 and 2 classes."),
        ({"n_train": True}, "n_train is True"),
        ({"n": [3]}, "n is 3 with n_train 16 and 2 classes."),
        ({"n": [18]}, "n is 18 with n_train 16"),
        ({"fits": 0}, "fits is 0; it must be a whole number of 1 or more."),
        ({"networks": 1.5}, "networks is 1.5"),
        ({"time_s": -1}, "time_s is -1; it must be a positive number."),
        ({"time_s": float("nan")}, "time_s is nan"),
        ({"epochs": -1}, "epochs is -1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"stop_early": "yes"}, "stop_early is 'yes'; it must be true or false."),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
    ],
)  # fmt: skip
def test_refusals(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Study.from_config(settings)
    assert said in str(caught.value)
    assert caught.value.why and caught.value.fix


def test_an_npz_has_its_classes_and_one_data_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "mine.npz"
    x, y = rng.normal(size=(12, 3)), np.arange(12) % 3
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, class_names=["a", "b", "c"])
    study = Study(data=str(path), n_train=9)
    assert (study.classes, study.n) == (("a", "b", "c"), (3, 6, 9))
    with pytest.raises(UsageError, match="2 data seeds for"):
        replace(study, data_seeds=(1, 2))
    config = study.to_config()
    path.unlink()
    assert Study.from_config(config) == study  # a study is read without its data


def test_settings_from_files(tmp_path: Path) -> None:
    toml, plain = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('arch = "lenet"\nwidths = ["1/6", "4/6"]\nn_train = 8\ntime_s = 5\n')
    plain.write_text('{"arch": "lenet", "widths": ["1/6", "4/6"], "n_train": 8, "time_s": 5}')
    found = [Study.from_config(read_settings(path)) for path in (toml, plain)]
    assert found[0] == found[1]
    assert found[0] == Study(architectures=family("lenet", ["1/6", "4/6"]), n_train=8, time_s=5.0)
    for name, text, said in (
        ("a.yaml", "", "unknown kind of settings file '.yaml'"),
        ("b.toml", "arch = lenet", "cannot be read as TOML"),
        ("b.json", "[1]", "holds no settings"),
        ("c.json", "[" * 100_000, "cannot be read as JSON"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=said):
            read_settings(tmp_path / name)
    with pytest.raises(UsageError, match="there is no file"):
        read_settings(tmp_path / "none.toml")


def test_updates_name_only_what_changes() -> None:
    stored = Study(architectures=family("paper-mlp", ["1/6", "2/6"], [2, 3]), n_train=8, fits=7)
    assert updated(stored, {}) == stored
    wider = updated(stored, {"widths": ["4/6"]})
    assert wider.architectures == family("paper-mlp", ["4/6"], [2, 3])
    assert (wider.n_train, wider.fits) == (8, 7)
    other = updated(stored, {"arch": "lenet"})
    assert other.architectures == family("lenet")  # with widths and depths of its own
    more = extended(stored, updated(stored, {"widths": ["2/6", "4/6"], "data_seeds": [201]}))
    assert more.architectures == (*stored.architectures, *wider.architectures)
    assert more.data_seeds == (200, 201)
    assert extended(more, stored) == more


def test_what_differs() -> None:
    old = Study(data_dir="a", time_s=1.0)
    assert differences(old, replace(old, data_dir="b", time_s=None, networks=3)) == []
    assert differences(old, replace(old, n_train=8, n=(8,), learning_rate=0.1)) == [
        "n_train is 16 in the folder, 8 now",
        "n is 2, 4, 6, 8, 10, 12, 14, 16 in the folder, 8 now",
        "learning_rate is the default in the folder, 0.1 now",
    ]


def test_epochs_in_words() -> None:
    said = [source_label(("uniform", "sgd", epochs)) for epochs in ("1", "60", "")]
    assert said == ["sgd from uniform, 1 epoch", "sgd from uniform, 60 epochs", "sgd from uniform"]
