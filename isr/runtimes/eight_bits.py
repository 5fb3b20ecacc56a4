"""The 8-bit variant of a preset as a file: `isr.runtimes.int8` makes it, engines compute with it. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isr import presets
from isr.errors import RequestError

STEPS = 255  # between the smallest and the largest of an input's numbers


@dataclass(frozen=True)
class EightBitConv:
    """A convolution in 8 bits.

    Attributes:
        kernel: `[rows, columns, in, out]`, int8.
        kernel_step: `[out]`, float32; times `kernel` it is the kernel.
        input_step, input_zero: an input is `input_step * (number - input_zero)` for a number of 0 to 255.
    """

    kernel: np.ndarray
    kernel_step: np.ndarray
    input_step: float
    input_zero: int

    def round(self, inputs: np.ndarray) -> np.ndarray:
        """Return inputs as 8 bits hold them."""
        number = np.clip(np.rint(inputs / self.input_step) + self.input_zero, 0, STEPS)
        return (number - self.input_zero) * np.float32(self.input_step)


def save(convs: Mapping[str, EightBitConv], folder: Path) -> Path:
    """Write convolutions as the 8-bit variant of a preset.

    Args:
        convs: by their paths.
        folder: of the preset.

    Returns:
        The file.
    """
    values = {}
    for path, conv in convs.items():
        values[f"{path}/kernel"], values[f"{path}/kernel_step"] = conv.kernel, conv.kernel_step
        values[f"{path}/input_step"] = np.array([conv.input_step], np.float32)
        values[f"{path}/input_zero"] = np.array([conv.input_zero], np.uint8)
    target = presets.variant(folder)
    presets.write_safetensors(target, values, "keras-isr int8")
    return target


def read(folder: Path) -> dict[str, EightBitConv]:
    """Read the convolutions of a preset's 8-bit variant, by their paths.

    Raises:
        RequestError: there are none, or the file holds something else.
    """
    path = presets.variant(folder)
    if not path.is_file():
        raise RequestError(f"{folder}: has no 8-bit variant; `isr quantise` makes one")
    values = presets.read_safetensors(path)
    try:
        result = {
            name.removesuffix("/input_step"): EightBitConv(
                values[f"{stem}/kernel"],
                values[f"{stem}/kernel_step"],
                float(step[0]),
                int(values[f"{stem}/input_zero"][0]),
            )
            for name, step in values.items()
            if name.endswith("/input_step")
            for stem in [name.removesuffix("/input_step")]
        }
        sound = all(
            conv.kernel.dtype == np.int8
            and conv.kernel_step.shape == conv.kernel.shape[-1:]
            and np.isfinite(conv.kernel_step).all()
            and np.isfinite(conv.input_step)
            and conv.input_step > 0
            for conv in result.values()
        )
    except (ValueError, KeyError, IndexError) as error:
        raise RequestError(f"{path}: not a readable 8-bit variant ({error})") from None
    if not sound or len(result) * 4 != len(values):
        raise RequestError(f"{path}: not the steps and kernels of an 8-bit variant")
    return result
