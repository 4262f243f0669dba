"""Options that several commands share, as decorators, and the paths they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from biasgpu.cli.parsing import COUNT, DURATION

Command = TypeVar("Command", bound=Callable[..., Any])


def _all(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


run_argument = click.argument("run", metavar="RUN.h5", type=click.Path())

data_dir_option = click.option(
    "--data-dir",
    metavar="FOLDER",
    type=click.Path(),
    help="Where official data files lie.  [default: $BIASGPU_DATA_DIR, or the cache]",
)

task_options = _all(
    click.option(
        "--data",
        metavar="NAME",
        default="mnist",
        show_default=True,
        help="mnist, fashion-mnist, kmnist, cifar10, kink, slab, or a file.npz.",
    ),
    data_dir_option,
    click.option(
        "--classes",
        metavar="A,B",
        help="Classes by number or name, the first being label 0.  [default: 7,0 for mnist]",
    ),
    click.option(
        "--n-train",
        metavar="N",
        type=int,
        default=16,
        show_default=True,
        help="Training samples; the curve covers every smaller balanced N too.",
    ),
    click.option(
        "--data-seed",
        metavar="SEED",
        type=int,
        default=200,
        show_default=True,
        help="Chooses the training samples.",
    ),
    click.option(
        "--selection",
        metavar="HOW",
        default="biasgpu",
        show_default=True,
        help="biasgpu, or published: the very images of the published study (needs the full "
        "official files).",
    ),
    click.option(
        "--source",
        metavar="WHICH",
        default="auto",
        show_default=True,
        help="auto, official, or embedded: the MNIST subset in the package.",
    ),
)

architecture_options = _all(
    click.option(
        "--arch",
        metavar="NAME",
        default="mlp",
        show_default=True,
        help="mlp, lenet, paper-mlp or resnet4.",
    ),
    click.option(
        "--width",
        metavar="W",
        help="mlp: units a hidden layer, or inf; the others: a factor or one a layer, 2/6 or "
        "1/6,1/6,1/24,1/24.  [default: 512; 2/6]",
    ),
    click.option(
        "--depth",
        metavar="D",
        help="mlp, paper-mlp: hidden layers; lenet: 2c-3f, 2c-2f, 2c-1f, 1c-1f; "
        "resnet4: 4, 3, 2.  "
        "[default: 2; 4; 2c-3f]",
    ),
    click.option("--head", metavar="HEAD", help="logits, or one-logit.  [default: logits]"),
    click.option("--bias", metavar="BIAS", help="zero, prior, or none (zero by default)."),
)

DEFAULT_BINS = "default"
bins_option = click.option(
    "--bins",
    metavar="[LOW:HIGH:STEP]",
    is_flag=False,
    flag_value=DEFAULT_BINS,
    help="Of a study, bins of weight-normalised loss.  [by itself: 0.30:0.65:0.05; of CIFAR-10 "
    "0.55:0.67:0.02]",
)
measures_option = click.option(
    "--measures/--no-measures",
    default=False,
    help="Store with every network what measures need: training logits, Lipschitz constant, norms.",
)

prior_options = _all(
    click.option(
        "--prior",
        metavar="NAME[:A]",
        default="kaiming-normal",
        show_default=True,
        help="uniform:A, normal:STD, kaiming-uniform, kaiming-normal; uniform16:A, uniform8:A for "
        "coarser grids.",
    ),
    click.option(
        "--method",
        metavar="HOW",
        default="auto",
        show_default=True,
        help="direct draws every weight; deferred only what the data ask for: the same law, for "
        "Gaussian priors.  auto: deferred for Gaussian dense layers.",
    ),
)

seed_options = _all(
    click.option(
        "--seed",
        metavar="SEED",
        type=int,
        default=0,
        show_default=True,
        help="Chooses the stream of candidates.",
    ),
    click.option(
        "--first-index",
        metavar="I",
        type=int,
        default=0,
        show_default=True,
        help="The candidate to begin with.",
    ),
)

stopping_options = _all(
    click.option("--fits", metavar="COUNT", type=COUNT, help="Stop after so many fits: 1000, 10k."),
    click.option(
        "--candidates", metavar="COUNT", type=COUNT, help="Stop after so many candidates: 1e9."
    ),
    click.option(
        "--time",
        "time_s",
        metavar="DURATION",
        type=DURATION,
        help="Stop after so long: 30s, 5m, 2h.",
    ),
)

engine_options = _all(
    click.option(
        "--engine",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="auto, cpu, torch, triton or reference; all find the same fits.",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1; for triton also cuda:0,cuda:1 or all.  "
        "[default: a GPU if there is one]",
    ),
    click.option(
        "--threads", metavar="N", type=int, help="CPU threads.  [default: as many as there are]"
    ),
)

file_options = _all(
    click.option(
        "-o",
        "--output",
        "path",
        metavar="FILE",
        type=click.Path(),
        help="The results file.  [default: runs/ and a name that tells the settings]",
    ),
    click.option(
        "--overwrite", is_flag=True, help="Replace the file; the old one is kept as .bak."
    ),
    click.option(
        "--resume",
        metavar="RUN.h5",
        type=click.Path(),
        help="Go on with this file where it stopped; other settings must be the same or left out.",
    ),
    click.option(
        "--confidence", metavar="P", type=float, help="Of the intervals.  [default: 0.95]"
    ),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)
