"""Columns of the integers that compiled code reads of an operation, and kinds of operation.

SRC, DST and OTHER are where tensors begin, in numbers of float32; planes are as many numbers apart
as SRC_PLANE and DST_PLANE say, SRC_VECTORS and DST_VECTORS are theirs in vectors of sixteen. For
flat tensors a plane is a sample. Masks say where numbers lie in a plane, by their place among all
masks. DOWN says whether the gradient by the source is wanted, ADD that it is added to what is there
(another user of the tensor came before); OTHER_DOWN and OTHER_ADD say so of a join's other operand.
"""

from __future__ import annotations

CONV, DENSE, NORM, RELU, SCALE, JOIN, POOL, FLATTEN = range(8)
(
    KIND, SAMPLES, PLANES, UNITS, SRC, DST, OTHER, SRC_PLANE, DST_PLANE, SRC_VECTORS, DST_VECTORS,
    SRC_MASK, DST_MASK, DOWN, ADD, OTHER_DOWN, OTHER_ADD, WEIGHT, BIAS, RUNNING, SLOT, COUNT,
    FAN_IN, ROW, SQUARE, TAPS, BACK_TAPS, N_BACK, SIZE, HEIGHT, WIDTH, SAMPLE, STRIDE, OUT_HEIGHT,
    OUT_WIDTH, OUT_SAMPLE, OUT_STRIDE, FEATURES, N_COLUMNS,
) = range(39)  # fmt: skip
