"""Triton kernels, imported as `biasgpu.kernels`. They screen draws of method "deferred" on a GPU.

A draw passes through five kernels, each of one idea:

    reject    what two output units and some signs say, before any hidden layer is drawn
    gram      a hidden layer: normals, activations and their inner products; nothing else is kept
    factor    the triangular root of these products, with a bound of its error
    outputs   the output layer's normals
    check     logits, their bounds, and how many samples the draw certainly classifies

`plan` says how a layer is cut into tiles (pure Python), `launch` checks what goes into a kernel,
`reference` has their twins in NumPy. This package imports nothing by itself.
"""
