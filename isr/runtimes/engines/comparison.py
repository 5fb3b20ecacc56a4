"""Is what an engine computes what the network computes?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isr.errors import Unconvertible
from isr.models import SuperResolutionModel
from isr.runtimes.exported import open_exported
from isr.runtimes.tensorflow import TensorFlowUpscaler

# Of what is reloaded, to the network of the same precision, as a part of the largest value. Sums in another order stay
# far below in float32; elsewhere they change how a feature is rounded.
TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 1e-1}


def compare(folder: Path, model: SuperResolutionModel, precision: str) -> float:
    """Open a folder that `conversion.write` made, and compare it with the network at odd sizes.

    Args:
        folder: with the engine's files and `isr.json`.
        model: the network under the policy that it was converted with.
        precision: one of `TOLERANCES`.

    Returns:
        The largest difference, of values in [0, 1]; of others, as a part of the largest.

    Raises:
        Unconvertible: the shapes differ, or the values by more than the precision explains.
    """
    opened = open_exported(folder)
    spec = model.spec
    rng = np.random.default_rng(0)
    worst = 0.0
    for scale in spec.scales:
        for batch, height, width in ((1, 17, 23), (2, 9, 30)):
            sides = [side + -side % spec.size_multiple for side in (height, width)]
            lr = rng.random((batch, *spec.frame_axis, *sides, spec.num_channels), np.float32)
            found = opened(lr, scale=scale)
            expected = (
                model(lr, training=False).numpy()
                if spec.frame_axis
                else TensorFlowUpscaler(model)(lr, scale=scale)
            )
            if found.shape != expected.shape:
                raise Unconvertible(
                    f"{model.name}: what was written gives {found.shape}, the network {expected.shape}"
                )
            largest = max(1.0, float(np.abs(expected).max()))
            worst = max(worst, float(np.abs(found - expected).max()) / largest)
    if not worst <= TOLERANCES[precision]:  # NaN, too
        raise Unconvertible(
            f"{model.name}: what was written differs from the network by {worst:.1e}; it was removed"
        )
    return worst
