"""Input gradients, compiled: one network a SIMD lane, forward and backward."""

from biasgpu.measures.cpu.norms import norms

__all__ = ["norms"]
