"""`biasgpu doctor`: what there is to compute with, and whether it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from biasgpu.cli import output
from biasgpu.cli.parsing import DURATION

if TYPE_CHECKING:
    from biasgpu.doctor import Check


@click.command("doctor", epilog="\b\nExample:\n  biasgpu doctor --time 30s")
@click.option(
    "--time",
    "time_s",
    metavar="DURATION",
    type=DURATION,
    default="10s",
    show_default=True,
    help="How long to test.",
)
@click.option("--seed", metavar="SEED", type=int, help="Repeat a test.  [default: another one]")
@output.common
@click.pass_context
def command(ctx: click.Context, time_s: float, seed: int | None, as_json: bool) -> None:
    """Show versions and devices, and test that engines agree.

    Random small networks are screened by every engine there is and compared with the float64
    reference. Leaves with 1 if one of them disagrees.
    """
    import secrets

    from biasgpu import doctor

    seed = secrets.randbits(32) if seed is None else seed
    found = doctor.environment()
    if not as_json:
        _print_environment(found)
        output.note(f"Testing the engines for about {time_s:g} s (seed {seed}) ...")
    checks = doctor.self_test(time_s, seed=seed)
    ok = all(check.ok for check in checks)
    if as_json:
        results = [check.to_dict() for check in checks]
        output.print_json({**found, "self_test": {"ok": ok, "seed": seed, "engines": results}})
    else:
        _print_checks(checks)
    if not ok:
        ctx.exit(1)


def _print_environment(found: dict[str, Any]) -> None:
    out = output.stdout()
    versions = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in found["versions"].items()
    )
    for label, value in (
        ("python", f"{found['python']} on {found['platform']}"),
        ("versions", versions),
        ("processor", f"{found['cpu']}, {found['n_cpus']} threads"),
    ):
        out.print(f"{label:<10} {value}")
    for label in ("engines", "devices", "folders"):
        for name, value in found[label].items():
            out.print(f"{label:<10} {name}: {value}")


def _print_checks(checks: list[Check]) -> None:
    out = output.stdout()
    for check in checks:
        name = f"{check.engine} on {check.device}"
        if check.ok:
            left = check.n_borderline / check.n_draws
            out.print(
                f"agrees     {name}: {check.n_draws:,} draws of {check.n_ensembles} ensembles, "
                f"{left:.2%} left to the reference"
            )
        else:
            reason = check.disagreement or check.error or "no ensemble that it takes was tried"
            verdict = "DISAGREES" if check.disagreement else "FAILED"
            out.print(f"{verdict:<10} {name}: {reason}")
    if not checks:
        out.print("only the reference engine is here: nothing to compare.")
