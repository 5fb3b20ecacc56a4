"""How the weights of a network begin: as an interpolation, or with those of another network. One file per network.

A file registers what it knows of its network with the two functions here, which choose by the class of the network.
One without a file starts at random or from its own weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np

from isr.errors import RequestError

if TYPE_CHECKING:
    from isr.models.base import SuperResolutionModel


@singledispatch
def interpolate(model: SuperResolutionModel) -> None:
    """Set the weights so that the untrained network interpolates.

    The channels of a picture pass through as the first features, are enlarged and come out; everything else starts as
    a small correction. Training then begins at about the PSNR of bicubic interpolation, and its first steps are not
    spent on copying colours.

    Args:
        model: built.

    Raises:
        RequestError: the network has too few features for that, or no such start.
    """
    raise RequestError(f"{type(model).__name__} has no interpolating start; start from a preset or at random")


@singledispatch
def adopt(model: SuperResolutionModel, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over the weights of a related network, such as one for another scale.

    Args:
        model: built.
        values: the other's weights by the names of its `named_weights`; any float dtype.
        source: what errors name, usually the file.

    Returns:
        The names of weights that were made from others rather than copied.

    Raises:
        RequestError: the networks are not related; nothing is assigned then. Without a rule for the class the other
            network must be the same.
    """
    model.load_named_weights(values, source)
    return []
