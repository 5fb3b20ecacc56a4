"""Make a network of this package from a published file: recognise it, build the network, fill it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isr import presets
from isr.convert.checkpoint import Checkpoint, read
from isr.convert.families import FAMILIES
from isr.convert.family import Family, Layers, Plan, Tensors, as_pattern, name_in_file
from isr.convert.precision import measure_bfloat16
from isr.errors import RequestError, first_line
from isr.io.files import whole_folder
from isr.models import SuperResolutionModel, get_model
from isr.progress import Progress

SHIFT_TOLERANCE = 1e-3  # of 255: beyond rounding, the mean's layers were trained


@dataclass(frozen=True)
class Conversion:
    """A converted network, and where everything in it came from.

    Attributes:
        model: with the file's weights; takes and gives [0, 1] as every network here.
        family: network and whose names.
        checkpoint: what was read.
        taken: arguments that follow from the file.
        assumed: arguments that no file tells.
        sha256: of the file.
    """

    model: SuperResolutionModel
    family: str
    checkpoint: Checkpoint
    taken: dict[str, Any]
    assumed: dict[str, Any]
    sha256: str


def load(path: str | Path, **settings: Any) -> SuperResolutionModel:
    """Read the network in a file of published weights.

    Args:
        path: `.pth`, `.pt`, `.ckpt`, `.safetensors`, `.hdf5`, `.h5`, or `.param` or `.bin` of ncnn, of a family that
            `docs/published-weights.md` lists.
        settings: what no file tells, such as `res_scale=0.1`, instead of what is assumed.

    Returns:
        The network with the file's weights; takes and gives [0, 1] as every network here.

    Raises:
        RequestError: the file cannot be read, is of no known family, or does not fit; the message names it.
    """
    return convert(path, settings).model


def convert(path: str | Path, settings: Mapping[str, Any] | None = None) -> Conversion:
    """Read as `load` does, and tell what was taken from the file and what was assumed.

    Args:
        path: of the file.
        settings: as for `load`.

    Returns:
        The network, and where everything in it came from.

    Raises:
        RequestError: as `load`.
    """
    checkpoint = read(path)
    # Counters of steps are single numbers, and no weights.
    tensors: Tensors = {name: value for name, value in checkpoint.tensors.items() if value.ndim}
    family = recognise(tensors, str(path))
    assert family.plan is not None
    if family.rewrite is not None:
        try:
            tensors = family.rewrite(tensors)
        except (KeyError, ValueError) as error:
            raise RequestError(f"{path}: looks like {family.name}, but {error.args[0]}") from None
    try:
        plan = family.plan(tensors)
    except KeyError as error:
        raise RequestError(f"{path}: is no complete {family.name}: {first_line(error)} is missing") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise RequestError(f"{path}: its shapes are of no {family.name} ({first_line(error)})") from None
    told = {key: value for key, value in checkpoint.facts.items() if key in plan.assumed}
    taken = {**plan.taken, **told}
    assumed = {key: value for key, value in plan.assumed.items() if key not in told}
    if plan.shifts:
        own_range = (settings or {}).get("pixel_range", {**taken, **assumed}.get("pixel_range", 255))
        try:
            assumed |= _mean_of(tensors, plan, float(own_range))
        except KeyError as error:
            raise RequestError(
                f"{path}: is no complete {family.name}: {first_line(error)} is missing"
            ) from None
        except (ValueError, TypeError, IndexError, np.linalg.LinAlgError) as error:
            raise RequestError(f"{path}: its shifts of the mean make none ({first_line(error)})") from None
    for key, value in (settings or {}).items():
        if key not in assumed:
            known = ", ".join(assumed) or "nothing"
            raise RequestError(
                f"{key}: follows from the file or is unknown; {family.name} leaves open: {known}"
            )
        assumed[key] = value
    try:
        model = get_model(plan.model)(**taken, **assumed)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{path}: makes no {plan.model} ({first_line(error)})") from None
    values = _place(model, tensors, family, plan, str(path))
    if plan.shifts:
        _fold_shifts(values, tensors, plan, model)
    if plan.bare:
        _fold_output(values, plan.bare, model)
    model.load_named_weights(values, str(path))
    digest = hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    return Conversion(model, family.name, checkpoint, taken, assumed, digest)


def recognise(tensors: Tensors, source: str) -> Family:
    """Tell the family of a file by the names and shapes of its tensors.

    Args:
        tensors: of the file, by name.
        source: what errors name.

    Returns:
        The first family that matches.

    Raises:
        RequestError: the family is one that is refused, or there is none. The message then names the nearest family,
            and the first names that it does not have.
    """
    for family in FAMILIES:
        if family.matches(tensors):
            if family.refused:
                raise RequestError(f"{source}: {family.name} cannot be converted: {family.refused}")
            return family
    strangers = {family.name: _strangers(tensors, family.layers) for family in FAMILIES if family.layers}
    nearest = min(strangers, key=lambda name: len(strangers[name]))
    if len(strangers[nearest]) == len(tensors):
        first = ", ".join(list(tensors)[:3])
        raise RequestError(f"{source}: weights of no known network; its names begin with {first}")
    if not strangers[nearest]:
        raise RequestError(f"{source}: only a part of a network, the nearest being {nearest}")
    first = ", ".join(strangers[nearest][:3])
    raise RequestError(
        f"{source}: weights of no known network; the nearest is {nearest}, which has no {first}"
    )


def _strangers(tensors: Tensors, layers: Layers) -> list[str]:
    """The names of a file that no entry of a table stands for."""
    known = re.compile("|".join(map(as_pattern, layers.values())))
    return [name for name in tensors if not known.fullmatch(name.rpartition(".")[0])]


def _place(
    model: SuperResolutionModel, tensors: Tensors, family: Family, plan: Plan, source: str
) -> dict[str, np.ndarray]:
    """The file's tensors under our names, in our order of dimensions; each of them is used once.

    Raises RequestError, naming the tensor, where one is missing, left over or of another shape.
    """
    pytorch = any(name.endswith(".weight") for name in tensors)
    parts = {"kernel": "weight" if pytorch else "kernel", "bias": "bias", "alpha": "weight"}
    values, used = {}, set()
    for name, variable in model.named_weights().items():
        layer, _, part = name.rpartition("/")
        theirs = name_in_file(layer, (plan.layers, family.layers))
        key = f"{theirs}.{parts[part]}"
        if theirs is None or key not in tensors:
            raise RequestError(f"{source}: looks like {family.name}, but has no {key if theirs else layer}")
        value = np.asarray(tensors[key], np.float32)
        used.add(key)
        if part == "alpha" and value.ndim == 1:  # a slope for each channel
            value = value.reshape(1, 1, -1)
        if pytorch and value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)  # out x in x kh x kw to kh x kw x in x out
        if layer in plan.shuffles:
            value = value[..., shuffled(value.shape[-1], plan.shuffles[layer])]
        if part == "kernel" and plan.unshuffles.get(layer, 1) > 1:
            value = value[:, :, shuffled(value.shape[2], plan.unshuffles[layer])]
        if value.shape != tuple(variable.shape):
            expected = "x".join(map(str, variable.shape))
            raise RequestError(
                f"{source}: {key} has another shape than {family.name} of these sizes ({expected} as {name})"
            )
        values[name] = np.ascontiguousarray(value)
    used |= {*plan.notes, *(f"{layer}.{part}" for layer in plan.shifts for part in ("weight", "bias"))}
    spare = [name for name in tensors if name not in used]
    if spare:
        raise RequestError(f"{source}: looks like {family.name}, which has no {', '.join(spare[:3])}")
    return values


def shuffled(channels: int, factor: int) -> np.ndarray:
    """Return the order of PyTorch's channels before a pixel shuffle that depth-to-space expects, `[channels]`.

    In depth-to-space a sub-pixel's channels follow each other, in PyTorch a channel's sub-pixels.
    """
    return np.arange(channels).reshape(-1, factor**2).T.ravel()


def _mean_of(tensors: Tensors, plan: Plan, pixel_range: float) -> dict[str, list[float]]:
    """The mean that the file's first layer takes off, [0, 1]; KeyError where one is missing. See `_fold_shifts`."""
    for name in plan.shifts:
        if tensors[f"{name}.weight"].ndim != 4 or tensors[f"{name}.bias"].ndim != 1:
            raise ValueError(f"{name} is no convolution")
    kernel = np.asarray(tensors[f"{plan.shifts[0]}.weight"], np.float64)[:, :, 0, 0]
    bias = np.asarray(tensors[f"{plan.shifts[0]}.bias"], np.float64)
    return {"pixel_mean": [round(float(value), 7) for value in -np.linalg.solve(kernel, bias) / pixel_range]}


def _fold_shifts(
    values: dict[str, np.ndarray], tensors: Tensors, plan: Plan, model: SuperResolutionModel
) -> None:
    """Fold what the 1x1 layers around an EDSR-PyTorch network do, beyond the mean, into its first and last layer.

    They were meant to be constants, but there are files in which they were trained. With `y = W x + b` in front, the
    mean is `-b / W`, and W goes into the first kernel; with `A y + a` behind, A and what `a` is more than the mean
    go into the last layer. Both are exact, also where the pictures are padded.
    """
    (before, _), (after, shift) = (
        (
            np.asarray(tensors[f"{name}.weight"], np.float64)[:, :, 0, 0],
            np.asarray(tensors[f"{name}.bias"], np.float64),
        )
        for name in plan.shifts
    )
    mean = np.asarray(model.pixel_mean) * model.pixel_range
    identity = np.eye(len(mean))
    if np.abs(before - identity).max() > 1e-6:
        values["head/kernel"] = np.einsum("hwio,ij->hwjo", values["head/kernel"], before).astype(np.float32)
    if (
        np.abs(after - identity).max() > 1e-6
        or np.abs(shift - mean).max() > model.pixel_range * SHIFT_TOLERANCE / 10
    ):
        values["tail/kernel"] = np.einsum("hwio,po->hwip", values["tail/kernel"], after).astype(np.float32)
        values["tail/bias"] = (after @ values["tail/bias"] + shift - mean).astype(np.float32)


def _fold_output(values: dict[str, np.ndarray], layer: str, model: SuperResolutionModel) -> None:
    """Make the last layer give what, times 1 / range and with the mean added, is what the file's gives."""
    bias = values[f"{layer}/bias"]
    # The channels of a sub-pixel follow each other.
    mean = np.tile(model.pixel_mean, bias.size // model.num_channels)
    values[f"{layer}/kernel"] = (values[f"{layer}/kernel"] * model.pixel_range).astype(np.float32)
    values[f"{layer}/bias"] = ((bias - mean) * model.pixel_range).astype(np.float32)


def save(conversion: Conversion, folder: str | Path, progress: Progress | None = None) -> dict[str, float]:
    """Write a converted network as a preset, with a card that says where it came from.

    The preset notes what bfloat16 costs the network, so that "auto" takes float32 where that is too much.

    Args:
        conversion: what `convert` gave.
        folder: of the preset, which does not exist yet.
        progress: told of every picture that bfloat16 is measured on; asked for `cancelled` between them.

    Returns:
        What bfloat16 costs, as `measure_bfloat16` gives it.

    Raises:
        RequestError: the folder exists.
        Cancelled: the progress asked for it. Nothing is left then.
    """
    facts = {"parameters": conversion.model.count_params(), "licence": "that of the published file"}
    with whole_folder(Path(folder)) as temporary:
        cost = measure_bfloat16(conversion.model, progress)
        files = {presets.CARD: _card(conversion)}
        # What was published in 16 bits stays so.
        conversion.model.save_preset(temporary, dtype="exact", files=files, facts=facts, bfloat16=cost)
    return cost


def _card(conversion: Conversion) -> str:
    checkpoint = conversion.checkpoint
    rows = [
        ("file", checkpoint.path.name),
        ("SHA-256", conversion.sha256),
        ("format", checkpoint.format),
        ("wrapped in", ", ".join(checkpoint.wrappers) or "nothing"),
        ("recognised as", conversion.family),
        ("network", type(conversion.model).__name__),
        *((f"`{key}`, from the file", value) for key, value in conversion.taken.items()),
        *((f"`{key}`, assumed", value) for key, value in conversion.assumed.items()),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {checkpoint.path.stem}\n\n"
        "Converted from a published file by `isr convert`. The licence is that of the file.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )
