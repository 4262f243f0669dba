"""The phases of a training step: each computes all elements of a layer for a group of networks.

`row` is an operation's row of the table, `n` the samples of the batch. Sums run over one element's
terms in order, in float32. Element e of network g lies at `e * G + g`.
"""

from __future__ import annotations

import triton
import triton.language as tl

FIELDS = tl.constexpr(19)  # of a `train_plan.Operation`, in its order


@triton.jit
def take_inputs(x_ptr, order, row, acts, n, E: tl.constexpr, G: tl.constexpr):
    """Copy the batch's samples to where the first layer reads them, once for each network.

    Args:
        x_ptr: float32 `(n_train, size)`.
        order: int32, points to the numbers of the batch's samples.
    """
    size = tl.load(row + 2) * tl.load(row + 5) * tl.load(row + 6)
    rectified = tl.load(row + 16)
    g = tl.arange(0, G)[None, :]
    for s in range(n):
        source = x_ptr + tl.load(order + s).to(tl.int64) * size
        for start in range(0, size, E):
            e = start + tl.arange(0, E)[:, None]
            x = tl.load(source + e, mask=e < size, other=0.0)
            x = tl.where((rectified > 0) & (x < 0.0), 0.0, x)
            tl.store(acts + (s * size + e) * G + g, x + tl.zeros([E, G], tl.float32), mask=e < size)


@triton.jit
def _window(row, WINDOW: tl.constexpr, PADDED: tl.constexpr):
    """A linear map's kernel size and padding: numbers the compiler knows, where it can."""
    kernel = WINDOW
    padding = 0
    if WINDOW == 0:
        kernel = tl.load(row + 3)
    if PADDED:
        padding = tl.load(row + 4)
    return kernel, padding


@triton.jit
def linear_forward(
    row, parameters, acts, n,
    WINDOW: tl.constexpr, PADDED: tl.constexpr, E: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Outputs (sample, unit, y, x): bias and the sum over (channel, i, j) of weights and inputs."""
    units, channels = tl.load(row + 1), tl.load(row + 2)
    kernel, padding = _window(row, WINDOW, PADDED)
    in_height, in_width = tl.load(row + 5), tl.load(row + 6)
    out_height, out_width = tl.load(row + 7), tl.load(row + 8)
    in_at, out_at = tl.load(row + 9), tl.load(row + 10)
    weight_at, bias_at = tl.load(row + 11), tl.load(row + 12)
    rectified = tl.load(row + 16)
    g = tl.arange(0, G)[None, :]
    total = n * units * out_height * out_width
    for start in range(0, total, E):
        e = start + tl.arange(0, E)[:, None]
        inside = e < total
        x, rest = e % out_width, e // out_width
        y, rest = rest % out_height, rest // out_height
        unit, sample = rest % units, rest // units
        sum_ = tl.load(parameters + (bias_at + unit) * G + g, mask=inside, other=0.0)
        for channel in range(channels):
            plane = in_at + (sample * channels + channel) * in_height * in_width
            weights = weight_at + (unit * channels + channel) * kernel * kernel
            for i in range(kernel):
                line = plane + (y + i - padding) * in_width + x - padding
                good = inside
                if PADDED:
                    good = good & (y + i >= padding) & (y + i < in_height + padding)
                inputs = acts + line * G + g
                rows = parameters + (weights + i * kernel) * G + g
                for j in range(kernel):
                    valid = good
                    if PADDED:
                        valid = valid & (x + j >= padding) & (x + j < in_width + padding)
                    h = tl.load(inputs + j * G, mask=valid, other=0.0)
                    w = tl.load(rows + j * G, mask=inside, other=0.0)
                    sum_ += w * h
        sum_ = tl.where((rectified > 0) & (sum_ < 0.0), 0.0, sum_)
        tl.store(acts + (out_at + e) * G + g, sum_, mask=inside)


@triton.jit
def linear_backward(
    row, parameters, acts, deltas, n,
    WINDOW: tl.constexpr, PADDED: tl.constexpr, E: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Gradients by the inputs (sample, channel, y, x): sums over (unit, i, j)."""
    if tl.load(row + 18) > 0:
        units, channels = tl.load(row + 1), tl.load(row + 2)
        kernel, padding = _window(row, WINDOW, PADDED)
        in_height, in_width = tl.load(row + 5), tl.load(row + 6)
        out_height, out_width = tl.load(row + 7), tl.load(row + 8)
        in_at, out_at = tl.load(row + 9), tl.load(row + 10)
        weight_at = tl.load(row + 11)
        g = tl.arange(0, G)[None, :]
        total = n * channels * in_height * in_width
        for start in range(0, total, E):
            e = start + tl.arange(0, E)[:, None]
            inside = e < total
            x, rest = e % in_width + padding, e // in_width
            y, rest = rest % in_height + padding, rest // in_height
            channel, sample = rest % channels, rest // channels
            sum_ = tl.zeros([E, G], tl.float32)
            for unit in range(units):
                plane = out_at + (sample * units + unit) * out_height * out_width
                weights = weight_at + (unit * channels + channel) * kernel * kernel
                for i in range(kernel):
                    line = plane + (y - i) * out_width + x
                    good = inside & (y >= i) & (y - i < out_height)
                    above = deltas + line * G + g
                    rows = parameters + (weights + i * kernel) * G + g
                    for j in range(kernel):
                        valid = good & (x >= j) & (x - j < out_width)
                        d = tl.load(above - j * G, mask=valid, other=0.0)
                        w = tl.load(rows + j * G, mask=inside, other=0.0)
                        sum_ += w * d
            _pass_on(row, acts, deltas, in_at + e, sum_, inside, g, G)


@triton.jit
def _pass_on(row, acts, deltas, at, delta, inside, g, G: tl.constexpr):
    """Store gradients by outputs of the operation before, which a rectifier may have cut off."""
    h = tl.load(acts + at * G + g, mask=inside, other=0.0)
    cut = (tl.load(row + 17) > 0) & (h <= 0.0)
    tl.store(deltas + at * G + g, tl.where(cut, 0.0, delta), mask=inside)


@triton.jit
def pool_forward(row, acts, n, E: tl.constexpr, G: tl.constexpr):
    """Outputs (sample, channel, y, x): the largest element of each window."""
    size, in_height, in_width = tl.load(row + 3), tl.load(row + 5), tl.load(row + 6)
    out_height, out_width = tl.load(row + 7), tl.load(row + 8)
    in_at, out_at = tl.load(row + 9), tl.load(row + 10)
    rectified = tl.load(row + 16)
    g = tl.arange(0, G)[None, :]
    total = n * tl.load(row + 1) * out_height * out_width
    for start in range(0, total, E):
        e = start + tl.arange(0, E)[:, None]
        inside = e < total
        x, rest = e % out_width, e // out_width
        y, plane = rest % out_height, rest // out_height
        corner = in_at + (plane * in_height + y * size) * in_width + x * size
        best = tl.load(acts + corner * G + g, mask=inside, other=0.0)
        for i in range(size):
            for j in range(size):
                h = tl.load(acts + (corner + i * in_width + j) * G + g, mask=inside, other=0.0)
                best = tl.where((h > best) | (h != h), h, best)
        best = tl.where((rectified > 0) & (best < 0.0), 0.0, best)
        tl.store(acts + (out_at + e) * G + g, best, mask=inside)


@triton.jit
def pool_backward(row, acts, deltas, n, E: tl.constexpr, G: tl.constexpr):
    """Gradients by the inputs: that of the window for its first largest element, else 0."""
    if tl.load(row + 18) > 0:
        size, in_height, in_width = tl.load(row + 3), tl.load(row + 5), tl.load(row + 6)
        out_height, out_width = tl.load(row + 7), tl.load(row + 8)
        in_at, out_at = tl.load(row + 9), tl.load(row + 10)
        g = tl.arange(0, G)[None, :]
        total = n * tl.load(row + 1) * in_height * in_width
        for start in range(0, total, E):
            e = start + tl.arange(0, E)[:, None]
            inside = e < total
            x, rest = e % in_width, e // in_width
            y, plane = rest % in_height, rest // in_height
            window_y, window_x = y // size, x // size
            within = inside & (window_y < out_height) & (window_x < out_width)
            mine = (y - window_y * size) * size + x - window_x * size
            corner = in_at + (plane * in_height + window_y * size) * in_width + window_x * size
            h = tl.load(acts + (in_at + e) * G + g, mask=inside, other=0.0)
            chosen = within & (h == h)
            for i in range(size):
                for j in range(size):
                    at = corner + i * in_width + j
                    other = tl.load(acts + at * G + g, mask=within, other=0.0)
                    chosen = chosen & ((h > other) | ((h == other) & (i * size + j >= mine)))
            at = out_at + (plane * out_height + window_y) * out_width + window_x
            delta = tl.load(deltas + at * G + g, mask=within, other=0.0)
            _pass_on(row, acts, deltas, in_at + e, tl.where(chosen, delta, 0.0), inside, g, G)


@triton.jit
def logit_gradient(row, label_ptr, order, acts, deltas, n, mean_of, n_outputs, G: tl.constexpr):
    """Gradients of the mean cross-entropy over `mean_of` samples by the logits, one by one."""
    at = tl.load(row + 10)
    g = tl.arange(0, G)
    for s in range(n):
        label = tl.load(label_ptr + tl.load(order + s))
        logits = acts + (at + s * n_outputs) * G + g
        to = deltas + (at + s * n_outputs) * G + g
        most = tl.load(logits)
        one = n_outputs == 1  # stands for the logits (0, z)
        most = tl.where(one & (most < 0.0), 0.0, most)
        for k in range(n_outputs):
            z = tl.load(logits + k * G)
            most = tl.where((z > most) | (z != z), z, most)
        sum_ = tl.where(one, tl.exp(-most), 0.0)
        for k in range(n_outputs):
            sum_ += tl.exp(tl.load(logits + k * G) - most)
        for k in range(n_outputs):
            share = tl.exp(tl.load(logits + k * G) - most) / sum_
            hit = (label == k) & (n_outputs > 1) | (one & (label == 1))
            tl.store(to + k * G, (share - tl.where(hit, 1.0, 0.0)) / mean_of)
