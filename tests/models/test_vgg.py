"""VGG against values computed elsewhere, against Keras' own networks, and with files that are none."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from gradients import differentiate
from tiny_models import numpy

from isr.errors import RequestError
from isr.models.vgg import SHIPPED, VGG

# Mean, standard deviation, maximum and the element [h // 2, w // 2, 5] of the features of `pattern()`, computed once
# by another framework from the shipped weights. They hold for VGG19 alone.
TABLE = {
    "block1_conv1": ((32, 32, 64), 32.0589, 50.1687, 359.5298, 103.2952),
    "block1_conv2": ((32, 32, 64), 140.9784, 210.0818, 1735.3501, 0.0),
    "block2_conv1": ((16, 16, 128), 220.7897, 345.6786, 3309.6006, 0.0),
    "block2_conv2": ((16, 16, 128), 281.3296, 567.1354, 5874.5322, 0.0),
    "block3_conv1": ((8, 8, 256), 418.7777, 665.3337, 8722.1953, 0.0),
    "block3_conv2": ((8, 8, 256), 541.6527, 751.2477, 10373.9131, 786.6919),
    "block3_conv3": ((8, 8, 256), 1220.4619, 1167.5740, 8299.7422, 1125.5610),
    "block3_conv4": ((8, 8, 256), 1959.5569, 2363.6052, 16007.9189, 1345.6429),
}


def pattern() -> np.ndarray:
    """`(7 i + 13 j + 29 c) mod 256` at row i, column j and channel c, as a picture in [0, 1]."""
    i, j, c = np.indices((32, 32, 3))
    return ((7 * i + 13 * j + 29 * c) % 256)[None].astype(np.float32) / 255


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).random(shape, np.float32)


def features(model: VGG, pictures: np.ndarray) -> list[np.ndarray]:
    return [numpy(feature) for feature in model(pictures)]


def test_features_are_those_computed_elsewhere() -> None:
    for name, feature in zip(TABLE, features(VGG(layers=tuple(TABLE)), pattern()), strict=True):
        shape, *expected = TABLE[name]
        assert feature.shape == (1, *shape), name
        centre = feature[0, shape[0] // 2, shape[1] // 2, 5]
        found = [feature.mean(), feature.std(), feature.max(), centre]
        np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=name)


def test_layers_come_in_the_order_asked_for_by_name_or_by_index() -> None:
    deep, shallow = features(VGG(layers=(9, "block2_conv2")), pattern())
    assert deep.shape == (1, 8, 8, 256) and shallow.shape == (1, 16, 16, 128)
    again = features(VGG(layers=("block3_conv3", 5, 9)), pattern())
    for first, second in zip([deep, shallow, deep], again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_indices_are_those_of_keras() -> None:
    for depth, network in ((16, keras.applications.VGG16), (19, keras.applications.VGG19)):
        names = [layer.name for layer in network(weights=None, include_top=False).layers]
        places = range(1, len(names))
        assert list(VGG(depth, layers=places, weights=None).layer_names) == names[1:]


def test_only_the_layers_up_to_the_deepest_exist() -> None:
    model = VGG(layers=("block1_pool", "block2_conv1"))
    assert [layer.name for layer in model.trunk] == [
        "block1_conv1",
        "block1_conv2",
        "block1_pool",
        "block2_conv1",
    ]
    assert len(model.weights) == 6


def test_before_activation() -> None:
    names = ("block1_conv1", "block1_pool", "block2_conv1")
    before = features(VGG(layers=names, before_activation=True), pattern())
    after = features(VGG(layers=names), pattern())
    for index in (0, 2):
        assert before[index].min() < -1
        np.testing.assert_allclose(np.maximum(before[index], 0), after[index], rtol=1e-6)
    np.testing.assert_array_equal(before[1], after[1])  # a pooling is behind the ReLU in any case


def test_it_is_frozen_and_gives_a_gradient_to_the_picture() -> None:
    model = VGG(layers=("block1_conv2",), before_activation=True)
    assert model.trainable_variables == [] and len(model.variables) == 4
    x = noise(1, 6, 5, 3)
    step = differentiate(lambda pictures: keras.ops.mean(model(pictures)[0]))
    _, (gradient,) = step(x)
    assert gradient.shape == x.shape and np.all(gradient != 0)
    direction = np.random.default_rng(5).normal(size=x.shape).astype(np.float32) * 1e-3
    change = float(step(x + direction)[0]) - float(step(x - direction)[0])
    assert change == pytest.approx(2 * np.sum(gradient * direction), rel=0.02)


def test_float32_whatever_the_global_policy_is() -> None:
    expected = features(VGG(), pattern())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = features(VGG(), pattern())
    finally:
        keras.config.set_dtype_policy(before)
    for one, other in zip(expected, found, strict=True):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_it_comes_back_from_a_file(tmp_path: Path) -> None:
    model = VGG(layers=(2, 4), before_activation=True, weights=None)
    model.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.get_config() == model.get_config()
    for one, other in zip(features(model, pattern()), features(again, pattern()), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.trainable_variables == []


# Files


@pytest.mark.parametrize(
    ("depth", "file"), [(16, "a.weights.h5"), (19, "a.h5")], ids=["16, weights", "19, model"]
)
def test_files_of_keras_networks(depth: int, file: str, tmp_path: Path) -> None:
    """Same features as Keras' network with its own preprocessing, of the layers it names."""
    network = {16: keras.applications.VGG16, 19: keras.applications.VGG19}[depth](
        weights=None, include_top=False
    )
    rng = np.random.default_rng(depth)
    for layer in network.layers:
        if layer.weights:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    path = tmp_path / file
    network.save_weights(path) if file.endswith(".weights.h5") else network.save(path)
    names = ("block1_conv1", "block3_conv3", "block5_conv3")
    model = VGG(depth, layers=names, weights=path)
    with pytest.raises(
        RequestError, match=rf"{path.name}: holds a VGG{depth}; give a file of VGG{35 - depth}"
    ):
        VGG(35 - depth, weights=path)
    path.unlink()  # 60 to 80 MB

    x = noise(2, 32, 48, 3)
    preprocess = {16: keras.applications.vgg16, 19: keras.applications.vgg19}[depth].preprocess_input
    outputs = [network.get_layer(name).output for name in names]
    expected = keras.Model(network.input, outputs)(preprocess(x * 255))
    for one, other in zip(expected, features(model, x), strict=True):
        np.testing.assert_allclose(other, numpy(one), atol=1e-5 * numpy(one).max())


def test_the_names_of_the_published_file(tmp_path: Path) -> None:
    """Groups of the layers' names, data sets of Theano's: `block1_conv1/block1_conv1_W_1:0`, for BGR."""
    path = write_published(tmp_path / "vgg19.h5", dict(np.load(SHIPPED)))
    for one, other in zip(features(VGG(), pattern()), features(VGG(weights=path), pattern()), strict=True):
        np.testing.assert_array_equal(one, other)


def write_published(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            layer, _, what = key.rpartition("_")
            if what in ("kernel", "bias"):
                value = value[:, :, ::-1] if key == "block1_conv1_kernel" else value
                file[f"{layer}/{layer}_{'W' if what == 'kernel' else 'b'}_1:0"] = value.astype(np.float32)
        file.create_group("block1_pool")
    return path


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.weights.h5"])
@pytest.mark.parametrize("state", ["missing", "empty", "junk", "truncated"])
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, name: str, state: str) -> None:
    path = tmp_path / name
    if state == "truncated":
        if name == "a.npz":
            path.write_bytes(SHIPPED.read_bytes()[:-900])
        else:
            write_published(path, {"block1_conv1_kernel": np.zeros((3, 3, 3, 64))})
            path.write_bytes(path.read_bytes()[:-900])
    elif state != "missing":
        path.write_bytes(b"junk" * 99 if state == "junk" else b"")
    message = refused(weights=path)
    assert str(path) in message and ("no such" in message) == (state == "missing")


def test_a_file_without_a_layer_or_with_another_shape_or_a_nan(tmp_path: Path) -> None:
    arrays = {key: value for key, value in np.load(SHIPPED).items() if not key.startswith("block3")}
    np.savez(tmp_path / "a.npz", **arrays)
    assert "a.npz: holds no kernel and bias of block3_conv1" in refused(weights=tmp_path / "a.npz")
    del arrays["block2_conv2_bias"]
    np.savez(tmp_path / "a.npz", **arrays)
    assert "a.npz: holds no kernel and bias of block2_conv2" in refused(
        layers=(5,), weights=tmp_path / "a.npz"
    )
    np.savez(tmp_path / "b.npz", **{**arrays, "block1_conv2_kernel": np.zeros((3, 3, 64, 32))})
    message = refused(layers=(2,), weights=tmp_path / "b.npz")
    assert "the kernel of block1_conv2 has shape (3, 3, 64, 32)" in message
    np.savez(tmp_path / "c.npz", **{**arrays, "block1_conv2_bias": np.full(64, np.nan)})
    assert "c.npz: block1_conv2/bias holds values" in refused(layers=(2,), weights=tmp_path / "c.npz")


def test_what_is_not_shipped_says_where_to_have_it_from() -> None:
    for arguments, wanted in (({"layers": ("block4_conv1",)}, "block4_conv1"), ({"depth": 16}, "VGG16")):
        message = refused(**arguments)
        depth = arguments.get("depth", 19)
        assert message.startswith(f"{wanted} does not come with the package")
        assert f"vgg{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5" in message and "weights=" in message
    VGG(layers=("block3_pool",))  # the last that is there


def test_without_a_network_the_error_says_which_file_goes_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**arguments: object) -> None:
        assert arguments == {"include_top": False, "weights": "imagenet"}
        raise Exception("URL fetch failure\non a second line")

    monkeypatch.setattr(keras.applications, "VGG16", unreachable)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    message = refused(depth=16, weights="imagenet")
    assert "URL fetch failure" in message
    assert "put vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 into ~/.keras/models" in message.replace(
        "\\", "/"
    )


def test_downloaded_weights_are_keras_own(monkeypatch: pytest.MonkeyPatch) -> None:
    network = keras.applications.VGG19(weights=None, include_top=False)
    monkeypatch.setattr(keras.applications, "VGG19", lambda **arguments: network)
    x = noise(1, 9, 8, 3)
    expected = keras.Model(network.input, network.layers[4].output)(
        keras.applications.vgg19.preprocess_input(x * 255)
    )
    (found,) = features(VGG(layers=(4,), weights="imagenet"), x)
    np.testing.assert_allclose(found, numpy(expected), atol=1e-5 * numpy(expected).max())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 13}, "depth=13"),
        ({"layers": ()}, "name at least one layer"),
        ({"layers": ("conv9",)}, "layer 'conv9' is unknown; this network has block1_conv1"),
        ({"layers": (0,)}, "layer 0 is unknown"),
        ({"layers": (22,)}, "layer 22 is unknown"),
        ({"layers": (-1,)}, "layer -1 is unknown"),
    ],
    ids=str,
)
def test_arguments_that_are_refused(arguments: dict, words: str) -> None:
    assert words in refused(**arguments)


def refused(**arguments: object) -> str:
    """The message of the error for these arguments, which is one line."""
    with pytest.raises(RequestError) as caught:
        VGG(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pictures_that_are_refused() -> None:
    model = VGG()
    assert [feature.shape for feature in features(model, noise(1, 4, 5, 3))] == [
        (1, 2, 2, 128),
        (1, 1, 1, 256),
    ]
    with pytest.raises(ValueError, match="sides of 4 or more"):
        model(noise(1, 3, 9, 3))
    with pytest.raises(ValueError, match="incompatible"):
        model(noise(1, 8, 8, 1))
