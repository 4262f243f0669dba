"""Triton kernels, imported as `biasgpu.kernels`. They screen draws on a GPU, and train networks.

Of method "deferred" a draw passes through five kernels, each of one idea:

    reject    what two output units and some signs say, before any hidden layer is drawn
    gram      a hidden layer: normals, activations and their inner products; nothing else is kept
    factor    the triangular root of these products, with a bound of its error
    outputs   the output layer's normals
    check     logits, their bounds, and how many samples the draw certainly classifies

Of method "direct", a draw a lane:

    direct_dense    a dense layer: weights from their names, sums, bounds, ReLU
    direct_conv     a convolution's weights, the convolution with ReLU and pool, pools of their own
    direct_check    from logits to prefixes and survivors

Networks are trained by one kernel, `train`, from their names (`draw`) to the end; its phases are in
`train_phases`, `train_update` and (between epochs) `train_look`, the table of layers that it reads
in `train_plan`, and `train_launch` launches it.

`plan` and `direct_plan` say how layers are cut into tiles and `work` what a launch then has to do
(pure Python), `launch` and `direct_launch` check what goes into a kernel, `reference` and
`direct_reference` have their twins in NumPy. This package imports nothing by itself.
"""
