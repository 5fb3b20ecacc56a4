"""Small variants of every network, and the inputs and weights that tests give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from isr.models import EDSR, SuperResolutionModel, list_models

# One entry per network of `list_models()`: arguments that make it small. The first variant stands for the network
# where geometry does not matter; the others cover its scales and branches.
TINY: dict[str, list[dict[str, Any]]] = {
    "EDSR": [
        {"scale": 2, "num_features": 8, "num_blocks": 1},
        {"scale": 3, "num_features": 8, "num_blocks": 2, "res_scale": 0.1},
        {"scale": 4, "num_features": 8, "num_blocks": 0, "pixel_range": 1.0},
        {"scale": 8, "num_features": 8, "num_blocks": 1},
    ],
    "MDSR": [
        {"num_features": 8, "num_blocks": 0},
        {"scales": (4, 8), "num_features": 4, "num_blocks": 1, "pixel_range": 1.0},
    ],
    "RDN": [
        {"num_features": 8, "growth": 6, "num_blocks": 2, "num_layers": 2},
        {
            "scale": 4,
            "num_features": 6,
            "growth": 4,
            "num_blocks": 1,
            "num_layers": 1,
            "upsampler": "pixelshuffle_growth",
        },
        {"num_features": 8, "growth": 4, "num_blocks": 1, "num_layers": 1, "upsampler": "idealo_ups"},
        {
            "scale": 3,
            "num_features": 8,
            "growth": 4,
            "num_blocks": 1,
            "num_layers": 1,
            "upsampler": "idealo_shuffle",
        },
    ],
    "RRDN": [
        {"num_features": 8, "growth": 4, "num_blocks": 1, "num_dense_blocks": 2, "num_layers": 1},
        {
            "scale": 3,
            "num_features": 8,
            "growth": 4,
            "num_blocks": 2,
            "num_dense_blocks": 1,
            "num_layers": 1,
            "res_scale": 0.5,
        },
    ],
    "RRDBNet": [
        {"num_features": 8, "growth": 4, "num_blocks": 1, "num_dense_blocks": 1, "num_layers": 2},
        {
            "scale": 1,
            "num_features": 8,
            "growth": 4,
            "num_blocks": 1,
            "num_dense_blocks": 1,
            "num_layers": 1,
        },
        {
            "scale": 8,
            "num_features": 8,
            "growth": 4,
            "num_blocks": 0,
            "num_layers": 1,
            "pixel_mean": (0.5, 0.5, 0.5),
        },
    ],
    "Compact": [
        {"scale": 2, "num_features": 8, "num_convs": 2},
        {"scale": 3, "num_features": 6, "num_convs": 1, "pixel_range": 255.0},
        {"scale": 4, "num_features": 6, "num_convs": 0, "pixel_mean": (0.5, 0.5, 0.5)},
    ],
    "SPAN": [
        {"num_features": 8, "num_blocks": 2},
        {"scale": 3, "num_features": 6, "num_blocks": 1, "pixel_range": 1.0},
        {"scale": 4, "num_features": 8, "num_blocks": 1, "reparametrised": False},
    ],
    "TDAN": [
        {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1},
        {
            "scale": 2,
            "num_features": 6,
            "num_frames": 3,
            "center_frame_idx": 0,
            "num_extract_blocks": 0,
            "num_reconstruct_blocks": 0,
            "deform_groups": 1,
            "border": "v2",
        },
    ],
    "EDVR": [
        {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1},
        {
            "num_features": 4,
            "num_frames": 3,
            "center_frame_idx": 2,
            "deform_groups": 1,
            "num_extract_blocks": 0,
            "num_reconstruct_blocks": 0,
            "with_tsa": False,
            "num_upsample_features": 4,
        },
        {
            "num_features": 4,
            "num_frames": 3,
            "deform_groups": 4,
            "num_extract_blocks": 1,
            "num_reconstruct_blocks": 1,
            "hr_in": True,
            "with_predeblur": True,
        },
        {
            "num_features": 4,
            "num_frames": 2,
            "deform_groups": 2,
            "num_extract_blocks": 0,
            "num_reconstruct_blocks": 1,
            "hr_in": True,
            "pixel_mean": (0.4, 0.4, 0.4),
            "pixel_range": 2.0,
        },
    ],
    "FlowVSR": [
        {
            "base": {"model": "EDSR", "arguments": {"scale": 4, "num_features": 8, "num_blocks": 1}},
            "num_features": 8,
            "num_blocks": 1,
            "flow_features": 4,
            "flow_rounds": [1, 1],
        },
        {
            "base": {"model": "EDSR", "arguments": {"scale": 2, "num_features": 6, "num_blocks": 0}},
            "num_frames": 7,
            "num_features": 4,
            "num_blocks": 0,
            "flow_features": 2,
            "flow_rounds": [1],
            "freeze_base": False,
        },
        {
            "base": {"model": "EDSR", "arguments": {"scale": 3, "num_features": 8, "num_blocks": 0}},
            "num_frames": 3,
            "center_frame_idx": 0,
            "num_features": 4,
            "num_blocks": 1,
            "flow_features": 2,
            "flow_rounds": [1, 0, 2],
            "passes": 2,
        },
    ],
    "Cascade": [
        {
            "models": [
                {"model": "EDSR", "arguments": {"scale": 2, "num_features": 6, "num_blocks": 1}},
                {"model": "EDSR", "arguments": {"scale": 2, "num_features": 4, "num_blocks": 0}},
            ]
        },
        {"models": [{"model": "EDSR", "arguments": {"scale": 3, "num_features": 4, "num_blocks": 0}}]},
    ],
}

# Arguments that each network must refuse, beside those that the base class refuses for all.
BAD_ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "EDSR": [{"scale": 5}, {"scale": 1}, {"num_features": 0}, {"num_blocks": -1}],
    "MDSR": [
        {"scales": ()},
        {"scales": (2, 2)},
        {"scales": (2, 5)},
        {"num_features": 0},
        {"num_blocks": -1},
    ],
    "RDN": [
        {"scale": 5},
        {"scale": 1, "upsampler": "idealo_ups"},
        {"num_features": 0},
        {"growth": 0},
        {"num_blocks": 0},
        {"num_layers": 0},
        {"upsampler": "bicubic"},
    ],
    "RRDN": [
        {"scale": 1},
        {"num_features": 0},
        {"growth": 0},
        {"num_blocks": -1},
        {"num_dense_blocks": 0},
        {"num_layers": 0},
    ],
    "RRDBNet": [
        {"scale": 3},
        {"num_features": 0},
        {"growth": 0},
        {"num_blocks": -1},
        {"num_dense_blocks": 0},
        {"num_layers": 0},
        {"unshuffle": 3},
    ],
    "Compact": [{"scale": 0}, {"num_features": 0}, {"num_convs": -1}],
    "SPAN": [
        {"scale": 0},
        {"num_features": 0},
        {"num_blocks": 0},
        {"expansion": 0},
        {"expansion": 0, "reparametrised": False},
    ],
    "TDAN": [
        {"scale": 5},
        {"num_features": 9},
        {"num_frames": 1},
        {"center_frame_idx": 5},
        {"center_frame_idx": -1},
        {"num_extract_blocks": -1},
        {"num_reconstruct_blocks": -1},
        {"deform_groups": 0},
        {"border": "v3"},
    ],
    "EDVR": [
        {"num_features": 9},
        {"num_frames": 1},
        {"center_frame_idx": 5},
        {"num_extract_blocks": -1},
        {"num_reconstruct_blocks": -1},
        {"deform_groups": 0},
        {"num_upsample_features": 0},
    ],
    "FlowVSR": [
        {"base": {"model": "EDSR", "arguments": {"scale": 5}}},
        {"base": {"model": "RRDBNet", "arguments": {"scale": 1, "num_blocks": 0, "num_features": 4}}},
        {"base": {"model": "TDAN", "arguments": {"num_features": 8}}},
        {"num_frames": 1},
        {"center_frame_idx": 5},
        {"num_features": 0},
        {"num_blocks": -1},
        {"flow_features": 0},
        {"flow_rounds": []},
        {"flow_rounds": [0, 0]},
        {"flow_rounds": [1, -1]},
    ],
    "Cascade": [{"models": []}, {"models": [{"model": "EDSR", "arguments": {"scale": 5}}]}],
}


@dataclass(frozen=True)
class Case:
    """One small variant of one network."""

    model_class: type[SuperResolutionModel]
    arguments: dict[str, Any]

    def build(self, **overrides: Any) -> SuperResolutionModel:
        """The network with the initial weights of one seed."""
        keras.utils.set_random_seed(1)
        return self.model_class(**{**self.arguments, **overrides})

    def shared(self) -> SuperResolutionModel:
        """The network with random weights: one for all tests of a process, which leave it as it is."""
        if str(self) not in SHARED:
            SHARED[str(self)] = randomise(self.build())
        return SHARED[str(self)]

    def __str__(self) -> str:
        parts = [f"{key}={value}" for key, value in self.arguments.items()]
        return "-".join([self.model_class.__name__, *parts])


SHARED: dict[str, SuperResolutionModel] = {}
CASES = [Case(model, arguments) for model in list_models() for arguments in TINY.get(model.__name__, [])]
# Past the second, the variants of the large video networks take longer than all small networks together.
VARIANTS = [
    pytest.param(case, id=str(case), marks=pytest.mark.slow)
    if case.model_class.__name__ in ("EDVR", "FlowVSR")
    and case.arguments not in TINY[case.model_class.__name__][:2]
    else pytest.param(case, id=str(case))
    for case in CASES
]
FIRST = [Case(model, TINY[model.__name__][0]) for model in list_models() if model.__name__ in TINY]
# For what takes long: the first of each network, and the others where slow tests run.
FIRST_THEN_SLOW = [
    pytest.param(case, id=str(case), marks=[] if case in FIRST else pytest.mark.slow) for case in CASES
]


def pictures(model: SuperResolutionModel, height: int, width: int, batch: int = 1) -> np.ndarray:
    """A random input in [0, 1] for a network; sides are counted in its `size_multiple`."""
    spec = model.spec
    sides = (height * spec.size_multiple, width * spec.size_multiple)
    return np.random.default_rng(3).random((batch, *spec.frame_axis, *sides, spec.num_channels), np.float32)


def randomise(model: SuperResolutionModel) -> SuperResolutionModel:
    """Random weights that keep the size of features, with biases that show in the picture."""
    rng = np.random.default_rng(5)
    for variable in model.variables:
        shape = tuple(variable.shape)
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
        spread = np.sqrt(2 / fan_in) if len(shape) > 1 else 0.1 * model.pixel_range
        if any(motion in variable.path for motion in ("conv_offset", "flow/correct")):
            # A few pixels at most: what is sampled far away is another picture after any rounding, or is not trusted.
            spread *= 0.1
        variable.assign(rng.normal(0, spread, shape).astype("float32"))
    return model


def positive(model: SuperResolutionModel) -> SuperResolutionModel:
    """Positive kernels and no biases: every ReLU is open, no two paths cancel, the longest ones outweigh the rest."""
    rng = np.random.default_rng(6)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if len(shape) > 1:
            variable.assign(rng.uniform(0, 20 / np.prod(shape[:-1]), shape).astype("float32"))
        else:
            variable.assign(np.zeros(shape, "float32"))
    return model


def numpy(tensor: Any) -> np.ndarray:
    """A backend's tensor as an array."""
    return keras.ops.convert_to_numpy(tensor)


def save_baselines(folder: Path) -> None:
    """Save small networks of the names that ship for scales 2, 3 and 4; they interpolate."""
    for scale in (2, 3, 4):
        model = EDSR(scale=scale, num_features=8, num_blocks=1)
        model.start_as_interpolation()
        model.save_preset(folder / f"edsr_baseline_x{scale}")
