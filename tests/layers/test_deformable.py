"""Deformable convolution: published oracles, closed forms, a slow reference, and that all its forms agree.

The file also runs on JAX, but for what is TensorFlow's alone: most of it here, in a child process, all of it by
`KERAS_BACKEND=jax pytest tests/layers/test_deformable.py`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from children import ROOT, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from isr.layers.deformable import DeformableConv2D, deform_conv2d, mean_offsets
from isr.layers.sampling import Sampling, resample, whole
from isr.layers.strips import strips

GOLDENS = Path(__file__).parents[1] / "goldens"
BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow alone")

# Every way in which the convolution is computed; the strips are so small that tiny images have several.
FORMS: dict[str, dict[str, Any] | None] = {"whole": None}
if BACKEND == "tensorflow":
    FORMS |= {
        "plain": {"compiled": False},
        "plain strips": {"compiled": False, "megabytes": 0.005},
        "compiled": {"compiled": True},
        "compiled strips": {"compiled": True, "megabytes": 0.005},
        "one at a time": {"compiled": True, "megabytes": 0.005, "in_flight": 1},
    }

EXAMPLES = 30 if BACKEND == "tensorflow" else 2  # JAX compiles every new shape, operation by operation

Arrays = Mapping[str, np.ndarray | None]


@contextmanager
def computed(form: str) -> Iterator[None]:
    """Computes in one of `FORMS`."""
    changes = FORMS[form]
    if changes is not None:
        with strips(**changes):
            yield
        return
    with pytest.MonkeyPatch.context() as patch:
        if BACKEND == "tensorflow":
            from isr.layers import deformable_tensorflow

            patch.setattr(
                deformable_tensorflow, "convolve", lambda sampling, _, *rest: whole(sampling, *rest)
            )
        yield


@pytest.fixture
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    with computed(request.param):
        yield request.param


def forms(*names: str) -> pytest.MarkDecorator:
    """Runs a test in each of these forms, as far as the backend has them."""
    return pytest.mark.parametrize("form", [name for name in names or FORMS if name in FORMS], indirect=True)


def numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def convolution(**settings: Any) -> Callable[..., Any]:
    """`deform_conv2d` as a function of its tensors alone."""
    return lambda x, offset, mask, kernel, bias: deform_conv2d(x, offset, mask, kernel, bias, **settings)


def value_and_gradients(
    function: Callable[..., Any], arrays: Arrays, cotangent: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Output, and the gradients of `sum(output * cotangent)` by each array that is there."""
    names = [name for name, array in arrays.items() if array is not None]

    def run(*tensors: Any) -> Any:
        return function(**{**arrays, **dict(zip(names, tensors, strict=True))})

    tensors = [ops.convert_to_tensor(arrays[name]) for name in names]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = run(*tensors)
        found = tape.gradient(y, tensors, output_gradients=tf.cast(cotangent, y.dtype))
    else:
        import jax

        y, pull = jax.vjp(jax.jit(run), *tensors)
        found = pull(ops.cast(cotangent, y.dtype))
    return numpy(y), dict(zip(names, map(numpy, found), strict=True))


def random_case(
    seed: int = 0,
    batch: int = 2,
    size: tuple[int, int] = (7, 9),
    channels: int = 6,
    filters: int = 4,
    kernel_size: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (1, 1),
    dilation_rate: tuple[int, int] = (1, 1),
    groups: int = 2,
    modulated: bool = True,
    step: float | None = None,
    dtype: str = "float32",
) -> tuple[dict[str, Any], dict[str, np.ndarray | None], np.ndarray]:
    """Settings, arrays and a cotangent; offsets are normal, or multiples of `step`, up to some pixels outside."""
    rng = np.random.default_rng(seed)
    sampling = Sampling(kernel_size, strides, padding, dilation_rate, groups, "v2")
    rows, columns = (sampling.output_side(side, axis) for axis, side in enumerate(size))
    offset = rng.normal(0, 3, (batch, rows, columns, 2 * sampling.samples))
    arrays = {
        "x": rng.normal(size=(batch, *size, channels)),
        "offset": offset if step is None else np.round(offset / step) * step,
        "mask": rng.random((batch, rows, columns, sampling.samples)) if modulated else None,
        "kernel": rng.normal(size=(*kernel_size, channels, filters)),
        "bias": rng.normal(size=filters),
    }
    settings = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
    cotangent = rng.normal(size=(batch, rows, columns, filters)).astype(dtype)
    return settings, {name: None if a is None else a.astype(dtype) for name, a in arrays.items()}, cotangent


# The published operators


def oracle(
    case: str,
) -> tuple[dict[str, Any], dict[str, np.ndarray | None], dict[str, np.ndarray], np.ndarray]:
    """Settings, inputs, expected output and gradients, and cotangent, channels last."""
    with np.load(GOLDENS / "dcn_oracle.npz") as file:
        stored = {name.removeprefix(f"{case}__"): file[name] for name in file if name.startswith(f"{case}__")}

    def last(array: np.ndarray) -> np.ndarray:
        return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array

    names = {"x": "x", "offset": "offset", "mask": "mask", "kernel": "weight", "bias": "bias"}
    kernel = (2, 3, 1, 0)
    arrays: dict[str, np.ndarray | None] = {}
    expected = {"y": last(stored["out"])}
    for name, theirs in names.items():
        for prefix, target in (("", arrays), ("grad_", expected)):
            array = stored.get(prefix + theirs)
            if array is not None:
                target[name] = array.transpose(kernel) if name == "kernel" else last(array)
    arrays = {name: arrays.get(name) for name in names}
    stride, padding, dilation, _ = map(int, stored["params"])
    settings = {"strides": stride, "padding": padding, "dilation_rate": dilation}
    settings["border"] = "v1" if case == "tdan" else "v2"
    return settings, arrays, expected, last(stored["cotangent"])


@pytest.mark.parametrize("case", ["v2_dg1", "v2_dg2", "v2_stride2", "v2_dil2", "nomask", "tdan"])
@forms("whole", "plain strips")
def test_equals_the_published_operators(case: str, form: str) -> None:
    """Half of the samples lie outside, two thirds on a kink; all six tensors."""
    settings, arrays, expected, cotangent = oracle(case)
    y, gradients = value_and_gradients(convolution(**settings), arrays, cotangent)
    np.testing.assert_allclose(y, expected.pop("y"), rtol=0, atol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", ["v2_dg2", "v2_stride2", "tdan"])  # each takes a second to compile
@forms("compiled strips")
def test_compiled_parts_equal_the_published_operators(case: str, form: str) -> None:
    test_equals_the_published_operators(case, form)


def test_the_two_border_rules_differ() -> None:
    settings, arrays, expected, _ = oracle("tdan")
    with np.load(GOLDENS / "dcn_oracle.npz") as file:
        other = file["tdan__out_if_v2_border"].transpose(0, 2, 3, 1)
    y = numpy(deform_conv2d(**arrays, **{**settings, "border": "v2"}))
    np.testing.assert_allclose(y, other, rtol=0, atol=1e-5)
    assert np.mean(np.abs(y - expected["y"]) > 1e-3) > 0.5


@pytest.mark.parametrize(
    ("y", "value"),
    [(-1.5, 0), (-1, 0), (-0.75, 0), (-0.25, 0), (0, 10), (0.5, 15), (3, 40), (3.75, 40), (4, 0), (4.5, 0)],
)
def test_the_old_border_rule_holds_the_last_value(y: float, value: float) -> None:
    column = np.array([10, 20, 30, 40], np.float32)[None, :, None, None]
    offset = np.zeros((1, 4, 1, 2), np.float32)
    offset[0, 0, 0, 0] = y
    found = deform_conv2d(column, offset, None, np.ones((1, 1, 1, 1), np.float32), border="v1")
    assert numpy(found)[0, 0, 0, 0] == value


@pytest.mark.parametrize("case", ["inside", "integer", "border", "far", "offsets", "flat"])
def test_sampler_equals_that_of_tensorflow_addons(case: str) -> None:
    with np.load(GOLDENS / "tfa_resampler.npz") as file:
        stored = {name.removeprefix(f"{case}/"): file[name] for name in file if name.startswith(f"{case}/")}
    data, warp, dout = stored["data"], stored["warp"], stored["dout"]

    def run(data: Any, warp: Any) -> Any:
        return resample(data, warp[..., 1], warp[..., 0])

    out, gradients = value_and_gradients(run, {"data": data, "warp": warp}, dout)
    np.testing.assert_allclose(out, stored["out"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradients["data"], stored["grad_data"], rtol=0, atol=1e-5)
    # That sampler tests the range first, so it has no derivative at -1 exactly, like the first CUDA operators;
    # torchvision has the one towards larger coordinates there, and so have we.
    on_edge = np.any(warp == -1, axis=-1, keepdims=True)
    assert not np.any(stored["grad_warp"][on_edge[..., 0]])
    found = np.where(on_edge, 0, gradients["warp"])
    np.testing.assert_allclose(found, stored["grad_warp"], rtol=0, atol=1e-5)


# Closed forms


@st.composite
def geometries(draw: st.DrawFn, odd: bool = False) -> dict[str, Any]:
    """Arguments of `random_case`."""
    pairs = st.tuples
    kernel_size = draw(pairs(st.sampled_from([1, 3] if odd else [1, 2, 3, 4]), st.sampled_from([1, 3, 5])))
    dilation = draw(pairs(st.integers(1, 3), st.integers(1, 2)))
    padding = draw(pairs(st.integers(0, 3), st.integers(0, 4)))
    reach = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel_size, padding, strict=True)]
    groups = draw(st.integers(1, 3))
    return {
        "seed": draw(st.integers(0, 99)),
        "batch": draw(st.integers(1, 3)),
        "size": tuple(draw(st.integers(max(1, least), max(1, least) + 5)) for least in reach),
        "channels": groups * draw(st.integers(1, 3)),
        "filters": draw(st.integers(1, 3)),
        "kernel_size": kernel_size,
        "strides": draw(pairs(st.integers(1, 3), st.integers(1, 2))),
        "padding": padding,
        "dilation_rate": dilation,
        "groups": groups,
        "modulated": draw(st.booleans()),
    }


@settings(max_examples=EXAMPLES)
@given(geometries())
def test_no_offset_is_a_plain_convolution(geometry: dict[str, Any]) -> None:
    dilation, (rows, columns) = geometry["dilation_rate"], geometry["padding"]
    # Keras has strides or dilation, and TensorFlow's convolution is wrong for some unequal strides.
    stride = 1 if max(dilation) > 1 else geometry["strides"][0]
    geometry["strides"] = (stride, stride)
    settings, arrays, _ = random_case(**{**geometry, "modulated": False})
    y = deform_conv2d(**{**arrays, "offset": np.zeros_like(arrays["offset"])}, **settings)
    padded = np.pad(arrays["x"], ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    plain = ops.conv(padded, arrays["kernel"], geometry["strides"], "valid", dilation_rate=dilation)
    np.testing.assert_allclose(numpy(y), numpy(plain) + arrays["bias"], atol=1e-4)


@forms("whole", "compiled strips")
@pytest.mark.parametrize("shift", [(2, -1), (-3, 4)])
def test_integer_offsets_shift_the_image(form: str, shift: tuple[int, int]) -> None:
    settings, arrays, _ = random_case(modulated=False)
    x, far = arrays["x"], 5
    offset = np.broadcast_to(np.tile(np.float32(shift), 18), arrays["offset"].shape)
    padded = np.pad(x, ((0, 0), (far, far), (far, far), (0, 0)))
    rows, columns = (
        slice(far + by - 1, far + by + side + 1) for by, side in zip(shift, x.shape[1:3], strict=True)
    )
    shifted = ops.conv(padded[:, rows, columns], arrays["kernel"], 1, "valid")
    y = deform_conv2d(**{**arrays, "offset": offset}, **settings)
    np.testing.assert_allclose(numpy(y), numpy(shifted) + arrays["bias"], atol=1e-4)


def slow(
    x: np.ndarray,
    offset: np.ndarray,
    mask: np.ndarray | None,
    kernel: np.ndarray,
    bias: np.ndarray,
    strides: tuple[int, int],
    padding: tuple[int, int],
    dilation_rate: tuple[int, int],
    border: str,
) -> np.ndarray:
    """The definition, one sample after the other."""
    _, height, width, channels = x.shape
    kh, kw, _, filters = kernel.shape
    groups = offset.shape[-1] // (2 * kh * kw)
    out = np.zeros((*offset.shape[:3], filters))

    def pixel(image: np.ndarray, row: int, column: int) -> np.ndarray:
        inside = 0 <= row < height and 0 <= column < width
        return image[row, column] if inside else np.zeros(image.shape[-1])

    def value(image: np.ndarray, y: float, x: float) -> np.ndarray:
        if border == "v1":
            if not (0 <= y < height and 0 <= x < width):
                return np.zeros(image.shape[-1])
            y, x = min(y, height - 1), min(x, width - 1)
        top, left = int(np.floor(y)), int(np.floor(x))
        a, b = y - top, x - left
        upper = (1 - b) * pixel(image, top, left) + b * pixel(image, top, left + 1)
        lower = (1 - b) * pixel(image, top + 1, left) + b * pixel(image, top + 1, left + 1)
        return (1 - a) * upper + a * lower

    size = channels // groups
    for n, row, column in np.ndindex(*offset.shape[:3]):
        for g, i, j in np.ndindex(groups, kh, kw):
            sample, part = (g * kh + i) * kw + j, slice(g * size, (g + 1) * size)
            down, right = offset[n, row, column, 2 * sample : 2 * sample + 2]
            place_y = row * strides[0] - padding[0] + i * dilation_rate[0] + down
            place_x = column * strides[1] - padding[1] + j * dilation_rate[1] + right
            factor = 1.0 if mask is None else mask[n, row, column, sample]
            out[n, row, column] += factor * value(x[n, :, :, part], place_y, place_x) @ kernel[i, j, part]
    return out + bias


@settings(max_examples=EXAMPLES)
@given(geometries(), st.sampled_from(["v1", "v2"]))
def test_equals_the_definition(geometry: dict[str, Any], border: str) -> None:
    settings, arrays, _ = random_case(**geometry, step=0.25)
    y = numpy(deform_conv2d(**arrays, **settings, border=border))
    wide = {name: None if array is None else array.astype(float) for name, array in arrays.items()}
    np.testing.assert_allclose(y, slow(**wide, **settings, border=border), atol=1e-4)


# Gradients


@forms("whole", "plain strips")
@pytest.mark.parametrize("border", ["v1", "v2"])
def test_gradients_are_differences_towards_larger_coordinates(border: str, form: str) -> None:
    """Offsets are multiples of a quarter: a fourth of the coordinates are integers, many on the border. The function
    is linear in each coordinate up to the next integer, so a difference over an eighth is exact."""
    settings, arrays, cotangent = random_case(
        batch=1, size=(4, 5), channels=2, filters=2, kernel_size=(2, 2), padding=(0, 1), step=0.25
    )
    _, gradients = value_and_gradients(convolution(**settings, border=border), arrays, cotangent)
    wide = {name: array.astype(float) for name, array in arrays.items()}
    base = slow(**wide, **settings, border=border)
    for name in ("offset", "mask"):  # each entry moves one output pixel, so all pixels are moved at once
        for channel in range(wide[name].shape[-1]):
            moved = {**wide, name: wide[name].copy()}
            moved[name][..., channel] += 0.125
            change = (slow(**moved, **settings, border=border) - base) / 0.125
            expected = (change * cotangent).sum(-1)
            np.testing.assert_allclose(gradients[name][..., channel], expected, atol=1e-4, err_msg=name)
    for name in ("x", "kernel", "bias"):
        expected = np.zeros(wide[name].shape)
        for place in np.ndindex(expected.shape):
            moved = {**wide, name: wide[name].copy()}
            moved[name][place] += 1
            expected[place] = ((slow(**moved, **settings, border=border) - base) * cotangent).sum()
        np.testing.assert_allclose(gradients[name], expected, atol=1e-4, err_msg=name)


@forms("whole", "plain", "compiled strips")
def test_places_that_are_no_numbers_or_far_away_are_zero(form: str) -> None:
    settings, arrays, cotangent = random_case(modulated=False)
    rng = np.random.default_rng(1)
    wild = rng.random(arrays["offset"].shape) < 0.3
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e9, -1e9], np.float32)
    offset = np.where(wild, rng.choice(values, wild.shape), arrays["offset"])
    outside = np.where(wild, np.float32(-99), arrays["offset"])
    y, gradients = value_and_gradients(convolution(**settings), {**arrays, "offset": offset}, cotangent)
    expected, theirs = value_and_gradients(convolution(**settings), {**arrays, "offset": outside}, cotangent)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, theirs[name], atol=1e-4, err_msg=name)


@on_tensorflow
@forms("whole", "plain")
def test_a_batch_may_be_empty(form: str) -> None:
    settings, arrays, _ = random_case(batch=0)
    assert deform_conv2d(**arrays, **settings).shape == (0, 7, 9, 4)


# All forms agree

CASES = {
    "one pixel": {"size": (1, 1), "batch": 1},
    "no strip fits": {"size": (7, 31), "batch": 1, "kernel_size": (4, 2), "padding": (2, 1), "groups": 3},
    "dilated": {"dilation_rate": (2, 3), "padding": (2, 3), "strides": (1, 2), "groups": 1},
    "old border": {"size": (6, 11), "modulated": False},
}


@on_tensorflow
@pytest.mark.parametrize("case", CASES)
def test_all_forms_agree(case: str) -> None:
    border = "v1" if case == "old border" else "v2"
    settings, arrays, cotangent = random_case(**CASES[case])
    with computed("whole"):
        y, expected = value_and_gradients(convolution(**settings, border=border), arrays, cotangent)
    for form in ("plain", "plain strips", "compiled strips", "one at a time"):
        with computed(form):
            found, gradients = value_and_gradients(convolution(**settings, border=border), arrays, cotangent)
        np.testing.assert_allclose(found, y, atol=1e-4, err_msg=form)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(gradient, expected[name], atol=2e-4, err_msg=f"{form}: {name}")


def has_compiled_parts(function: Any) -> bool:
    """Whether XLA compiles a part of a concrete function."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    return any(node.attr["_XlaMustCompile"].b for node in nodes)


@on_tensorflow
@pytest.mark.parametrize(
    ("known", "forced", "compiled"),
    [
        ("nothing", None, False),
        ("nothing", True, True),
        ("height and width", None, True),
        ("height and width", False, False),
        ("all", None, True),
        ("all, tiny", None, False),
    ],
)
def test_one_graph_for_unknown_sizes(known: str, forced: bool | None, compiled: bool) -> None:
    """XLA is used where it compiles once and is worth it, unless it is told otherwise."""
    import tensorflow as tf

    size = (5, 6) if known == "all, tiny" else (24, 25)
    settings, arrays, cotangent = random_case(size=size)
    names = [name for name in arrays if name != "bias"]
    unknown = {"nothing": 3, "height and width": 1}.get(known, 0)
    specs = [
        tf.TensorSpec(
            [None if axis < unknown and name != "kernel" else side for axis, side in enumerate(shape)]
        )
        for name, shape in ((name, arrays[name].shape) for name in names)
    ]

    @tf.function(input_signature=[*specs, tf.TensorSpec([None] * 3 + [4])], autograph=False)
    def run(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors[:4])
            y = deform_conv2d(*tensors[:4], **settings)
        return y, *tape.gradient(y, tensors[:4], output_gradients=tensors[4])

    with strips(compiled=forced):
        assert has_compiled_parts(run.get_concrete_function()) == compiled
    for other in [{"size": size}, {"size": (5, 9), "batch": 3}][: 2 if known == "nothing" else 1]:
        settings, arrays, cotangent = random_case(**other)
        with computed("whole"):
            y, expected = value_and_gradients(convolution(**settings), {**arrays, "bias": None}, cotangent)
        y_, *gradients = run(*(arrays[name] for name in names), cotangent)
        np.testing.assert_allclose(y_, y, atol=1e-4)
        for name, gradient in zip(names, gradients, strict=True):
            np.testing.assert_allclose(gradient, expected[name], atol=1e-3, err_msg=name)


@on_tensorflow
@pytest.mark.parametrize("size", [None, (33, 34)])
def test_exports_without_xla(size: tuple[int, int] | None, tmp_path: Path) -> None:
    import tensorflow as tf

    x = keras.Input((*(size or (None, None)), 4))
    layer = DeformableConv2D(3, deform_groups=2)
    model = keras.Model(x, layer(x))
    layer.conv_offset.bias.assign(np.random.default_rng(0).normal(size=54))
    with strips(compiled=None if size is None else False):
        model.export(tmp_path, verbose=False)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert not has_compiled_parts(served)
    image = np.random.default_rng(1).random((2, *(size or (7, 9)), 4), np.float32)
    (found,) = served(tf.constant(image)).values()
    np.testing.assert_allclose(found, model(image), atol=1e-5)


@on_tensorflow
@forms("plain strips", "compiled")
def test_works_inside_a_compiled_graph(form: str) -> None:
    import tensorflow as tf

    settings, arrays, cotangent = random_case(size=(5, 31))
    with computed("whole"):
        y, expected = value_and_gradients(convolution(**settings), arrays, cotangent)

    @tf.function(jit_compile=True, autograph=False)
    def run() -> Any:
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = deform_conv2d(**tensors, **settings)
        return y, tape.gradient(y, tensors, output_gradients=cotangent)

    found, gradients = run()
    np.testing.assert_allclose(found, y, atol=1e-4)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-3, err_msg=name)


# Precision


@forms("whole", "plain", "compiled")
def test_places_and_shares_are_float32_whatever_the_features_are(form: str) -> None:
    """At column 300 the next number of bfloat16 is 302."""
    stripes = np.tile(np.float32([0, 1]), 160)[None, None, :, None]
    offset = np.zeros((1, 1, 320, 2), np.float32)
    offset[..., 1] = 0.25
    factor = np.full((1, 1, 320, 1), 1 + 2**-10, np.float32)
    y = deform_conv2d(
        ops.cast(stripes, "bfloat16"), offset, factor, ops.ones((1, 1, 1, 1), "bfloat16"), border="v1"
    )
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    expected = np.tile(np.float32([0.25, 0.75]), 160)
    expected[-1] = 1  # nothing beyond the last one is read
    np.testing.assert_array_equal(numpy(ops.cast(y, "float32"))[0, 0, :, 0], expected)


@forms("whole", "plain strips", "compiled strips")
def test_low_precision_is_close_in_value_and_gradients(form: str) -> None:
    dtype = "bfloat16" if form == "compiled strips" else "float16"
    settings, arrays, cotangent = random_case()
    exact = value_and_gradients(convolution(**settings), arrays, cotangent)

    def low(x: Any, offset: Any, mask: Any, kernel: Any, bias: Any) -> Any:
        return deform_conv2d(ops.cast(x, dtype), offset, mask, kernel, bias, **settings)

    found = value_and_gradients(low, arrays, cotangent)
    for one, other in [(found[0], exact[0]), *((found[1][name], exact[1][name]) for name in exact[1])]:
        assert 0 < np.abs(one.astype(float) - other).max() < 0.02 * np.abs(other).max()


@on_tensorflow  # JAX computes in float32 unless it is told otherwise
@forms("whole", "plain")
def test_float64_is_computed_in_float64(form: str) -> None:
    settings, arrays, cotangent = random_case(dtype="float64")
    y, _ = value_and_gradients(convolution(**settings), arrays, cotangent)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, slow(**arrays, **settings, border="v2"), atol=1e-12)


# The layer


def pack(case: str) -> tuple[DeformableConv2D, dict[str, np.ndarray]]:
    """A layer with the weights of one of the published modules, and that module's tensors."""
    with np.load(GOLDENS / "dcn_oracle.npz") as file:
        stored = {name.removeprefix(f"{case}__"): file[name] for name in file if name.startswith(f"{case}__")}
    plain = case == "pack_tdan"
    layer = DeformableConv2D(
        3, deform_groups=2, modulated=not plain, use_bias=not plain, border="v1" if plain else "v2"
    )
    layer.build([(None, None, None, 4)] * 2)
    prefix = "offset_" if plain else "conv_offset_"
    weights = [stored["weight"], *([] if plain else [stored["bias"]])]
    weights += [stored[f"{prefix}weight"], stored[f"{prefix}bias"]]
    layer.set_weights([w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for w in weights])
    return layer, {n: a.transpose(0, 2, 3, 1) for n, a in stored.items() if a.shape[0] == 1 and a.ndim == 4}


@pytest.mark.parametrize("case", ["pack_v2", "pack_tdan"])
def test_layer_equals_the_published_modules(case: str) -> None:
    layer, expected = pack(case)
    offset, mask = layer.predict_offsets(expected["feat"])
    np.testing.assert_allclose(numpy(offset), expected["offset"], atol=1e-5)
    if case == "pack_v2":
        np.testing.assert_allclose(numpy(mask), expected["mask"], atol=1e-6)
    else:
        assert mask is None
    np.testing.assert_allclose(numpy(layer(expected["x"], expected["feat"])), expected["out"], atol=1e-5)


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize("strides", [1, 2])
def test_layer_starts_as_a_plain_convolution(modulated: bool, strides: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 4)).astype("float32")
    layer = DeformableConv2D(3, strides=strides, deform_groups=2, modulated=modulated)
    y = numpy(layer(x))
    # What "same" does at stride 2 is not what was published.
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    plain = numpy(ops.conv(padded, layer.kernel, strides, "valid"))
    assert y.shape == plain.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(y, plain * (0.5 if modulated else 1), atol=1e-5)
    limit = 1 / np.sqrt(9 * 4)
    assert 0.9 * limit < np.abs(numpy(layer.kernel)).max() <= limit


def test_images_may_be_smaller_than_the_kernel() -> None:
    layer = DeformableConv2D(3, strides=2)
    assert layer(np.ones((1, 2, 1, 4), np.float32)).shape == (1, 1, 1, 3)


def test_layer_names_its_weights_and_holds_nothing_else() -> None:
    layer = DeformableConv2D(3, name="align")
    layer.build(((None, None, None, 4), (None, None, None, 5)))
    shapes = {v.path: tuple(v.shape) for v in layer.variables}
    assert shapes == {
        "align/kernel": (3, 3, 4, 3),
        "align/bias": (3,),
        "align/conv_offset/kernel": (3, 3, 5, 27),
        "align/conv_offset/bias": (27,),
    }
    layer(np.zeros((1, 5, 6, 4), np.float32), np.zeros((1, 5, 6, 5), np.float32))
    assert {v.path for v in layer.variables} == shapes.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 3},
        {"filters": 2, "kernel_size": (2, 4), "padding": (1, 2), "strides": (2, 1), "deform_groups": 2},
        {"filters": 1, "modulated": False, "use_bias": False, "border": "v1", "activation": "relu"},
        {"filters": 1, "dilation_rate": (2, 3), "dtype": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_layer_survives_its_configuration(arguments: dict[str, Any], tmp_path: Path) -> None:
    x, guide = keras.Input((None, None, 4)), keras.Input((None, None, 2))
    layer = DeformableConv2D(**arguments)
    model = keras.Model([x, guide], layer(x, guide))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    copy = next(layer for layer in again.layers if isinstance(layer, DeformableConv2D))
    assert copy.get_config() == layer.get_config()
    assert {sub.dtype_policy.name for sub in (copy, copy.conv_offset)} == {layer.dtype_policy.name}
    inputs = [rng.normal(size=(2, 6, 7, channels)).astype("float32") for channels in (4, 2)]
    one, other = (numpy(ops.cast(m(inputs), "float32")) for m in (model, again))
    assert one.shape == layer.compute_output_shape((2, 6, 7, 4), (2, 6, 7, 2))
    assert np.abs(one).max() > 0
    np.testing.assert_array_equal(one, other)


def test_mixed_precision_keeps_offsets_in_float32() -> None:
    layer = DeformableConv2D(3, deform_groups=2, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 4)).astype("float32")
    y = layer(x)
    offset, mask = layer.predict_offsets(ops.cast(x, "bfloat16"))
    dtypes = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (y, offset, mask)]
    assert dtypes == ["bfloat16", "float32", "float32"]
    assert {variable.dtype for variable in layer.variables} == {"float32"}


def test_mean_offsets_are_told_by_layer() -> None:
    class Network(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="network")
            self.first = DeformableConv2D(4, name="first")
            self.second = DeformableConv2D(4, modulated=False, name="second")

        def call(self, x: Any) -> Any:
            return self.second(self.second(self.first(x)))

    network = Network()
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype("float32")
    assert mean_offsets(network, x) == {"first": 0.0, "second": 0.0}
    bias = np.zeros(27, np.float32)
    bias[:18] = [60, -20] * 9
    bias[18:] = 1000  # no offsets
    network.first.conv_offset.bias.assign(bias)
    network.second.conv_offset.bias.assign(np.full(18, -3, np.float32))
    assert mean_offsets(network, x) == pytest.approx({"first": 40.0, "second": 3.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": (1, 5, 6, 35)}, "35 channels"),
        ({"offset": (1, 5, 6, 54), "mask": (1, 5, 6, 27)}, "4 channels do not divide into 3"),
        ({"offset": (1, 5, 7, 36)}, "offset has 7 columns; the output has 6"),
        ({"mask": (1, 4, 6, 18)}, "mask has 4 rows; the output has 5"),
        ({"mask": (1, 5, 6, 9)}, "mask has 9 channels"),
        ({"x": (1, 5, 6, 2)}, "x has 2 channels"),
        ({"kernel": (2, 3, 4, 3), "offset": (1, 5, 6, 24)}, "padding must be given"),
        ({"border": "v3"}, "border='v3'"),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    shapes = {"x": (1, 5, 6, 4), "offset": (1, 5, 6, 36), "mask": (1, 5, 6, 18), "kernel": (3, 3, 4, 3)}
    border = changes.pop("border", "v2")
    arrays = {name: np.zeros(shape, np.float32) for name, shape in {**shapes, **changes}.items()}
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**arrays, border=border)


@pytest.mark.parametrize(
    "arguments", [{"filters": 0}, {"deform_groups": 0}, {"border": "v3"}, {"kernel_size": 2}], ids=str
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DeformableConv2D(**{"filters": 3, **arguments})


def test_channels_that_do_not_divide_are_refused_by_the_layer() -> None:
    with pytest.raises(ValueError, match="4 channels do not divide into 3"):
        DeformableConv2D(3, deform_groups=3).build((None, None, None, 4))


# JAX


@on_tensorflow
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_it_holds_on_jax() -> None:
    report = run_python(
        "-m",
        "pytest",
        str(Path(__file__).relative_to(ROOT)),
        *("-k", "published or addons or differences or no_numbers or whatever or starts or mean"),
        *("-q", "-n", "0", "-p", "no:cacheprovider"),
        env={
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # most of the time goes into compiling tiny kernels
        },
    )
    passed = re.search(r"(\d+) passed", report)
    assert passed and int(passed[1]) >= 20, report[-2000:]
