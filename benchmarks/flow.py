"""How exact the flow of a FlowVSR is, between the frames of clips and of photographs that are shifted; and its cost.

    python benchmarks/flow.py PRESET --clips CLIPS/val --photos PHOTOS/val
    python benchmarks/flow.py PRESET --cost

Of clips nobody knows the true flow. The yardstick is OpenCV's DIS on the high-resolution frames, which the flow does
not see; `pip install opencv-python-headless` for it. Beside the flow stand DIS on the frames that the base enlarged,
and no motion at all. Photographs are shifted by whole pixels of high resolution, so their flow is known.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path

import keras
import numpy as np
from measure import machine, timed

from isr import upscale_frames
from isr.data.clips import find_clips, read_clip
from isr.data.pairs import find_pairs
from isr.imresize import imresize
from isr.io.pictures import read
from isr.levels import from_float, to_float
from isr.models import FlowVSR
from isr.models.loading import load

FRAMES = 6  # per clip, spread evenly
SHIFTS = (1, 2, 4, 8, 16, 24, 32)  # pixels of the input


def gray(frame: np.ndarray) -> np.ndarray:
    """uint8 luma `[h, w]` as DIS takes it."""
    return from_float(to_float(frame) @ np.array([0.299, 0.587, 0.114], np.float32), np.dtype(np.uint8))


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """DIS flow down and right in pixels of the frames, `[h, w, 2]`."""
    import cv2

    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray(first), gray(second), None)
    return flow[..., ::-1]


def by_input(flow: np.ndarray, scale: int) -> np.ndarray:
    """Flow of enlarged pixels as the mean over each pixel of the input, in its unit."""
    height, width = (side // scale for side in flow.shape[:2])
    return flow.reshape(height, scale, width, scale, 2).mean((1, 3)) / scale


def found(model: FlowVSR, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow `[h, w, 2]` and confidence `[h, w]` of the model between two frames of the input, uint8."""
    motion = model.motion(*(model.encode(to_float(frame)[None]) for frame in (second, first)))
    flow, trust = (keras.ops.convert_to_numpy(motion[name])[0, 0] for name in ("flow", "trust"))
    return flow, trust[..., 0]


def distance(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(flow - truth, axis=-1)


def clips(model: FlowVSR, folder: Path, scale: int, side: int, reach: int) -> None:
    steps = [step for step in range(-reach, reach + 1) if step]
    print(f"{'neighbours, px of the input':32} {'no motion':>10} {'DIS':>10} {'flow':>10} {'confidence':>11}")
    rows = []
    for files in find_clips(folder, None):
        frames = list(read_clip(files, scale, 3))
        height, width = frames[0][0].shape[:2]
        top, left = (height - side) // 2, (width - side) // 2
        inner = slice(top, top + side), slice(left, left + side)
        rows.append(
            np.mean(
                [
                    compare(model, frames, place, place + step, inner, scale)
                    for place in np.linspace(reach, len(frames) - 1 - reach, FRAMES).astype(int)
                    for step in steps
                ],
                axis=0,
            )
        )
        print(f"{files.name:32} " + " ".join(f"{value:10.3f}" for value in rows[-1]))
    print(f"{'mean':32} " + " ".join(f"{value:10.3f}" for value in np.mean(rows, axis=0)))


def compare(
    model: FlowVSR,
    frames: list[tuple[np.ndarray, np.ndarray]],
    first: int,
    second: int,
    inner: tuple[slice, slice],
    scale: int,
) -> list[float]:
    """Mean errors of no motion, of DIS and of the flow in a crop, and the mean confidence."""
    crops = [frames[index][0][inner] for index in (first, second)]
    truth = by_input(dis(frames[first][1], frames[second][1]), scale)[inner]
    flow, trust = found(model, *crops)
    enlarged = keras.ops.convert_to_numpy(model.encode(to_float(np.stack(crops)))["sr"])
    plain = by_input(dis(*from_float(enlarged, np.dtype(np.uint8))), scale)
    errors = [distance(guess, truth).mean() for guess in (np.zeros_like(truth), plain, flow)]
    return [*map(float, errors), float(trust.mean())]


def photos(model: FlowVSR, folder: Path, scale: int, count: int) -> None:
    print(f"\n{'shift, px of the input':32} {'error':>10} {'confidence':>11} {'trusted, wrong':>15}")
    for shift in SHIFTS:
        errors, trusts = [], []
        for index, pair in enumerate(find_pairs(folder, None, scale)[:count]):
            hr = read(pair.hr).pixels
            angle = 2 * np.pi * index / count
            step = np.round(shift * scale * np.array([np.sin(angle), np.cos(angle)])).astype(int)
            side = (min(hr.shape[:2]) - shift * scale) // scale * scale
            first, second = (
                imresize(cut(hr, at, side), scale=1 / scale)
                for at in (np.maximum(step, 0), np.maximum(-step, 0))
            )
            flow, trust = found(model, first, second)
            y, x = np.mgrid[: flow.shape[0], : flow.shape[1]] + (step / scale)[:, None, None]
            seen = (y >= 0) & (x >= 0) & (y < flow.shape[0]) & (x < flow.shape[1])
            errors.append(distance(flow, step / scale)[seen])
            trusts.append(trust[seen])
        error, trust = np.concatenate(errors), np.concatenate(trusts)
        print(
            f"{shift:<32} {error.mean():10.3f} {trust.mean():11.3f} {np.mean((error > 0.5) & (trust > 0.1)):15.4f}"
        )


def cut(picture: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    return picture[corner[0] : corner[0] + side, corner[1] : corner[1] + side]


def cost(model: FlowVSR, size: tuple[int, int] = (88, 160)) -> None:
    """Print the processor time of a frame of a clip in bfloat16: by the base alone, and by the network."""
    frames = np.random.default_rng(0).integers(0, 256, (64, *size, 3), np.uint8)
    networks = {"base": model.enlarge, "network": model}
    # One frame in the middle of the clip at each call.
    clips = {
        name: upscale_frames(network, itertools.cycle(frames), precision="bfloat16")
        for name, network in networks.items()
    }
    found = timed(
        {name: partial(next, clip) for name, clip in clips.items()}, rounds=15, warmup=model.spec.num_frames
    )
    for name, seconds in found.items():
        print(f"{name:8} {seconds.processor:.3f} processor s for {size[1]}x{size[0]} pixels")
    print(f"{found['network'].processor / found['base'].processor:.2f} times the base")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--side", type=int, default=48, help="of the crops of clips, in pixels of the input")
    parser.add_argument("--reach", type=int, default=2, help="frames to the farthest neighbour")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=8, help="photographs to shift")
    parser.add_argument("--cost", action="store_true", help="processor time of a frame")
    arguments = parser.parse_args()
    model = load(arguments.preset)
    print(f"{arguments.preset}; {machine()}")
    if arguments.cost:
        cost(model)
    if arguments.clips:
        clips(model, arguments.clips, model.scales[0], arguments.side, arguments.reach)
    if arguments.photos:
        photos(model, arguments.photos, model.scales[0], arguments.count)


if __name__ == "__main__":
    main()
