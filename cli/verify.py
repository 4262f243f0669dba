"""`biasgpu verify`: is what a file says true?"""

from __future__ import annotations

import click

from biasgpu.cli import options, output


@click.command("verify", epilog="\b\nExample:\n  biasgpu verify runs/digits.h5")
@options.run_argument
@click.option("--threads", metavar="N", type=click.IntRange(min=1), help="CPU threads.")
@output.common
@click.pass_context
def command(ctx: click.Context, run: str, threads: int | None, as_json: bool) -> None:
    """Rebuild and recheck every fit of a results file.

    Every network is rebuilt from its name and decided again in float64; prefix, margin, test
    accuracy and predictions are compared with the file. Of trained networks, the stored weights
    are decided again. Leaves with 1 if anything differs.
    """
    import biasgpu
    from biasgpu.cli.parsing import format_duration
    from biasgpu.cli.progress import Counter

    stored = biasgpu.open(run)
    with Counter("verify", len(stored.fits), quiet=as_json) as counter:
        found = stored.verify(
            threads=threads, on_progress=lambda now: counter.update(now.n_checked)
        )
    if as_json:
        output.print_json({"run": run, **found.to_dict()})
    else:
        out = output.stdout()
        for problem in found.problems:
            out.print(f"wrong: {problem}")
        for note in found.notes:
            out.print(f"not verified: {note}")
        if found.ok:
            verdict = "all as stored"
        else:
            verdict = f"{found.n_wrong} not as stored" if found.n_wrong else "totals not as stored"
        done = "decided again" if isinstance(stored, biasgpu.Trained) else "rebuilt"
        out.print(
            f"{run}: {found.n_checked:,} networks {done} in {format_duration(found.elapsed_s)}: "
            f"{verdict}."
        )
    if not found.ok:
        ctx.exit(1)
