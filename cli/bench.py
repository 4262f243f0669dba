"""`biasgpu bench`: how fast an engine is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from biasgpu.cli import options, output
from biasgpu.cli.parsing import DURATION

if TYPE_CHECKING:
    from biasgpu.bench import Measured


@click.command(
    "bench",
    epilog="\b\nExamples:\n"
    "  biasgpu bench --arch lenet --width 2/6 --prior uniform\n"
    "  biasgpu bench --width 4096 --method direct --engine cpu --time 20s --json",
)
@options.task_options
@options.architecture_options
@click.option("--prior", metavar="NAME[:A]", default="kaiming-normal", show_default=True,
              help="As for sample.")  # fmt: skip
@click.option("--method", metavar="HOW", default="auto", show_default=True,
              help="direct, deferred or auto.")  # fmt: skip
@options.engine_options
@click.option("--time", "time_s", metavar="DURATION", type=DURATION, default="5s",
              show_default=True, help="How long to measure.")  # fmt: skip
@output.common
def command(as_json: bool, **given: Any) -> None:
    """Measure how many candidates an engine tests a second.

    Before that the engine is held against the float64 reference; one that disagrees is not timed.
    On a GPU each kernel is timed too, and the device's own limits beside them.
    """
    from biasgpu import bench
    from biasgpu.cli.given import given_architecture, given_task

    settings = {name: given[name] for name in ("method", "engine", "device", "threads", "time_s")}
    found = bench.measure(given_task(given), given_architecture(given), given["prior"], **settings)
    if as_json:
        output.print_json(found.to_dict())
    else:
        _print(found)


def _print(found: Measured) -> None:
    out = output.stdout()
    out.print(f"{found.architecture}, prior {found.prior}, N = {found.n_train}, {found.method}")
    out.print(f"  engine       {found.engine} on {found.device}")
    out.print(f"  candidates   {found.candidates_per_s:,.0f} a second")
    out.print(
        f"  batches      {found.median_candidates_per_s:,.0f} a second in the median "
        f"({found.low_candidates_per_s:,.0f} to {found.best_candidates_per_s:,.0f})"
    )
    out.print(f"  tested       {found.n_candidates:,} in {found.elapsed_s:.1f} s")
    out.print(f"  borderline   {found.borderline_share:.2%} of draws, left to the law")
    if found.words_per_draw:
        out.print(f"  a draw has   {found.words_per_draw:,} random words")
    if found.words_per_s:
        out.print(f"  it makes     {found.words_per_s:.3g} random words a second")
        out.print(f"  it computes  {found.flops_per_s / 1e12:.3g} TFLOP/s")
    for one in found.kernels:
        out.print(f"  {one['kernel']:12} layer {one['layer']}: {_kernel(one)}")
    for name, value in found.ceilings.items():
        out.print(f"  ceiling      {name}: {value:.3g}")
    for name, value in found.about.items():
        out.print(f"  {name:12} {value}")
    if found.notice:
        output.note(found.notice)
    output.note(f"It agreed with the reference on {found.n_checked} draws before.")


def _kernel(one: dict[str, Any]) -> str:
    """A kernel of the first stage."""
    return (
        f"{one['draws_per_s']:,.0f} draws/s ({one['low']:,.0f} to {one['high']:,.0f}), "
        f"{one['words_per_s']:.3g} words/s, {one['flops_per_s'] / 1e12:.3g} TFLOP/s, "
        f"{one['bytes_per_s'] / 1e9:.3g} GB/s"
    )
