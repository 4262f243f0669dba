"""Triton kernels, imported as `biasgpu.kernels`. They screen draws of method "deferred" on a
GPU, and train networks of method "direct".

A draw that is screened passes through five kernels, each of one idea:

    reject    what two output units and some signs say, before any hidden layer is drawn
    gram      a hidden layer: normals, activations and their inner products; nothing else is kept
    factor    the triangular root of these products, with a bound of its error
    outputs   the output layer's normals
    check     logits, their bounds, and how many samples the draw certainly classifies

Networks are trained by one kernel, `train`, from their names (`draw`) to the end; its phases are in
`train_phases`, the table of layers that it reads in `train_plan`, and `train_launch` launches it.

`plan` says how a layer is cut into tiles (pure Python), `launch` checks what goes into a kernel,
`reference` has their twins in NumPy. This package imports nothing by itself.
"""
