"""Triton kernels: the place of the GPU kernels, imported as `biasgpu.kernels`.

There are none yet. A GPU is used through the `torch` engine (`device="cuda"`).
"""
