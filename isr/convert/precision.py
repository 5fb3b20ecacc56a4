"""What bfloat16 costs a network, measured on pictures that are made here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isr.imresize import imresize
from isr.metrics import psnr
from isr.models import SuperResolutionModel
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import as_upscaler

SEEDS = (1, 2, 3)  # of the pictures
SIDE = 64  # input pixels, or the next multiple that the network takes
LEAVES = 1500  # discs in a picture


def measure_bfloat16(model: SuperResolutionModel, progress: Progress | None = None) -> dict[str, float]:
    """Compare a network in bfloat16 with itself in float32, at every scale, on synthetic photographs.

    Where the processor has no bfloat16 arithmetic, the backend emulates it.

    Args:
        model: the network; its policy does not matter.
        progress: told of every picture; asked for `cancelled` between them.

    Returns:
        `psnr_loss`, the mean loss of PSNR in dB to the picture that the input was made of, and `levels`, the largest
        deviation of a value in levels of 255; of several scales, those of the worst.
    """
    progress = progress or Silent()
    progress.start("measure bfloat16", len(model.scales) * len(SEEDS), "pictures")
    networks = [as_upscaler(model, precision) for precision in ("float32", "bfloat16")]
    worst_loss, worst_levels = -np.inf, 0.0
    for scale in model.scales:
        losses, levels = [], []
        for lr, hr in pictures(model, scale):
            check_cancelled(progress)
            float32, bfloat16 = (
                np.clip(network(lr[np.newaxis], scale=scale)[0], 0, 1) for network in networks
            )
            losses.append(decibels(float32, hr, scale) - decibels(bfloat16, hr, scale))
            levels.append(255 * float(np.abs(float32 - bfloat16).max()))
            progress.advance()
        worst_loss = max(worst_loss, float(np.mean(losses)))
        worst_levels = max(worst_levels, *levels)
    return {"psnr_loss": round(worst_loss, 5), "levels": round(worst_levels, 3)}


def decibels(sr: np.ndarray, hr: np.ndarray, scale: int) -> float:
    """Return the PSNR of luma, or of all channels where they are not RGB."""
    return psnr(sr, hr, channel="y" if sr.shape[-1] in (1, 3) else "rgb", border=scale)


def pictures(model: SuperResolutionModel, scale: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make inputs of a network and what they should become, float32 in [0, 1].

    A window of several frames shows one picture that moves by a pixel of the input from frame to frame.
    """
    spec = model.spec
    side = SIDE + -SIDE % spec.size_multiple
    for seed in SEEDS:
        whole = dead_leaves(scale * (side + spec.num_frames - 1), spec.num_channels, seed)
        frames = [
            whole[scale * step : scale * (step + side), scale * step : scale * (step + side)]
            for step in range(spec.num_frames)
        ]
        lr = [np.clip(imresize(frame, scale=1 / scale), 0, 1).astype(np.float32) for frame in frames]
        yield (np.stack(lr) if spec.frame_axis else lr[0]), frames[spec.center_frame]


def dead_leaves(side: int, num_channels: int, seed: int) -> np.ndarray:
    """Make a picture of opaque discs on each other, whose edges and sizes are distributed as in photographs.

    Lee, Mumford, Huang, "Occlusion Models for Natural Images" (2001).

    Args:
        side: in pixels.
        num_channels: of the picture.
        seed: the same seed makes the same picture.

    Returns:
        Float32 in [0, 1], `[side, side, num_channels]`.
    """
    rng = np.random.default_rng(seed)
    result = np.full((side, side, num_channels), 0.5)
    # Radii with a density of r^-3, so that the picture looks the same at all distances.
    radii = side / 2 / np.sqrt(rng.uniform(1, side**2 / 16, LEAVES))
    for radius in radii:
        y, x = rng.uniform(0, side, 2)
        # Rather dark or bright: what bfloat16 rounds most are strong edges.
        shade = rng.beta(0.5, 0.5) + rng.normal(0, 0.1, num_channels)
        slope = rng.normal(0, 0.2 / side, 2)
        top, left = (max(0, int(centre - radius)) for centre in (y, x))
        around = result[top : int(y + radius) + 1, left : int(x + radius) + 1]
        down, right = np.ogrid[: around.shape[0], : around.shape[1]]
        down, right = down + top - y, right + left - x
        inside = down**2 + right**2 < radius**2
        around[inside] = shade + (down * slope[0] + right * slope[1])[inside][:, np.newaxis]
    return np.clip(result + rng.normal(0, 0.01, result.shape), 0, 1).astype(np.float32)
