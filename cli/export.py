"""`biasgpu export`: networks as safetensors."""

from __future__ import annotations

import click

from biasgpu.cli import options, output
from biasgpu.cli.parsing import COUNT, format_count


@click.command(
    "export",
    epilog="\b\nExamples:\n"
    "  biasgpu export runs/digits.h5 -o fits.safetensors --fits 10\n"
    "  biasgpu export runs/digits.h5 -o two.safetensors --index 12345 --index 67890",
)
@options.run_argument
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(),
    required=True,
    help="The file to make; never overwritten.",
)
@click.option("--fits", metavar="COUNT", type=COUNT, help="The first so many fits.  [default: 10]")
@click.option(
    "--index", "indices", metavar="I", type=int, multiple=True, help="This network; repeatable."
)
@output.common
def command(run: str, path: str, fits: int | None, indices: tuple[int, ...], as_json: bool) -> None:
    """Write networks of a results file as safetensors.

    Tensors are float32 and named INDEX/LAYER.weight and INDEX/LAYER.bias; the metadata tells the
    layers, head, prior, seed and task, and how they were trained, if they were. From Python,
    run[0].module() is a torch.nn.Module.
    """
    import biasgpu
    from biasgpu.cli.summary import note_not_kept
    from biasgpu.export import export

    if fits is None and not indices:
        fits = 10
    stored = biasgpu.open(run)
    done = export(stored, path, fits=fits, indices=list(indices) if indices else None)
    note_not_kept(stored, done.indices)
    if as_json:
        output.print_json(
            {
                "output": str(done.path),
                "indices": list(done.indices),
                "n_parameters": done.n_parameters,
                "size_bytes": done.size_bytes,
            }
        )
        return
    output.stdout().print(
        f"{done.path}: {len(done.indices)} networks of {done.n_parameters:,} parameters, "
        f"{format_count(done.size_bytes)}B"
    )
