"""Tensor functions that Keras lacks or spells differently on its backends: the same on every one."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any  # a backend's tensor; Keras has no type for it


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Rearrange channels into space: the sub-pixel layer of ESPCN (Shi et al. 2016, equation 4).

    Args:
        x: `[b, h, w, factor**2 * c]`, any dtype. Channel `(i * factor + j) * c + k` becomes channel `k` of the
            sub-pixel in row `i` and column `j`. PyTorch orders them `k * factor**2 + i * factor + j`: permute
            the kernel of the convolution before it when weights come from there.
        factor: side of the block that one input pixel becomes.

    Returns:
        `[b, factor * h, factor * w, c]`, dtype of `x`.
    """
    return ops.nn.depth_to_space(x, factor)
