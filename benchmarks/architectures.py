"""The published architectures that one kernel or another takes."""

from __future__ import annotations

from biasgpu.architectures import lenet, paper_mlp

# Beyond these differ only numbers that no kernel is compiled for.
PUBLISHED = (
    *(lenet(width) for width in ("1/6,1/6,1/24,1/24", "1/6", "2/6", "3/6", "4/6", "1")),
    *(lenet("2/6", depth) for depth in ("2c-2f", "2c-1f", "1c-1f")),
    *(paper_mlp(width) for width in ("1/6", "2/6", "4/6", "1")),
    *(paper_mlp("2/6", depth) for depth in (1, 2, 3)),
)
