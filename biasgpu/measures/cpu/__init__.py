"""Input gradients, compiled: one network a SIMD lane, forward and backward."""

from biasgpu.measures.input_gradient import norms_by_law


def norms(steps, flat, x, *, threads=None):  # noqa: D103
    return norms_by_law(steps, flat, x)
