"""Corners of a preset: their format, and mixtures of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from isr import presets
from isr.errors import RequestError
from isr.predict.source import networks_of
from isr.presets import Mixture

ARGUMENTS = {"scale": 4, "num_features": 8, "num_blocks": 1}
SHAPES = {"head/kernel": (3, 3, 3, 8), "head/bias": (8,)}


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float16) for name, shape in SHAPES.items()}


CLEAN, RESTORED, TEXTURED = arrays(1), arrays(2), arrays(3)


def preset(folder: Path) -> Path:
    presets.write_safetensors(folder / presets.WEIGHTS, RESTORED)
    config = {"model": "EDSR", "arguments": ARGUMENTS, "weights": "float16"}
    (folder / presets.CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def with_corners(tmp_path: Path) -> Path:
    folder = preset(tmp_path / "photo")
    presets.write_corners(folder, clean=CLEAN, textured=TEXTURED)
    return folder


@pytest.mark.parametrize(
    ("denoise", "texture", "corner"), [(0, 0, CLEAN), (1, 0, RESTORED), (1, 1, TEXTURED)]
)
def test_a_corner_is_its_file_to_the_bit(
    with_corners: Path, denoise: float, texture: float, corner: dict[str, np.ndarray]
) -> None:
    found = presets.read_weights(with_corners, Mixture(denoise, texture))
    assert found.keys() == corner.keys()
    for name, value in corner.items():
        assert found[name].dtype == value.dtype
        assert found[name].tobytes() == value.tobytes()


@pytest.mark.parametrize(("denoise", "texture"), [(0.25, 0), (0, 0.5), (0.6, 0.4), (0.5, 0.5), (1, 0.3)])
def test_a_mixture_is_linear(with_corners: Path, denoise: float, texture: float) -> None:
    found = presets.read_weights(with_corners, Mixture(denoise, texture))
    for name, value in found.items():
        clean, restored, textured = (
            corner[name].astype(np.float64) for corner in (CLEAN, RESTORED, TEXTURED)
        )
        expected = clean + denoise * (restored - clean) + texture * (textured - restored)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


def test_by_itself_a_preset_is_its_own_weights(with_corners: Path) -> None:
    for name, value in presets.read_weights(with_corners).items():
        assert value.tobytes() == RESTORED[name].tobytes()


def test_corners_are_stored_beside_the_weights(with_corners: Path) -> None:
    assert {path.name for path in with_corners.iterdir()} == {
        "clean.safetensors",
        "config.json",
        "textured.safetensors",
        "weights.safetensors",
    }
    config = json.loads((with_corners / presets.CONFIG).read_text(encoding="utf-8"))
    assert config["corners"] == {"clean": "clean.safetensors", "textured": "textured.safetensors"}
    assert config["arguments"] == ARGUMENTS
    assert load_file(with_corners / "clean.safetensors")["head/bias"].dtype == np.float16


def test_a_corner_may_be_a_shipped_preset(tmp_path: Path) -> None:
    other = presets.find("edsr_baseline_x4")
    folder = tmp_path / "photo"
    shutil.copytree(other, folder)
    presets.write_corners(folder, clean="edsr_baseline_x4")
    assert presets.weight_files(folder, Mixture(0)) == (other / presets.WEIGHTS,)
    assert presets.folder_of(folder, Mixture(0)) == other
    assert presets.folder_of(folder) == folder
    assert presets.folder_of(folder, Mixture(0.5)) is None
    with pytest.raises(RequestError, match="edsr_baseline_x2, which is another network"):
        presets.write_corners(folder, clean="edsr_baseline_x2")


def test_hashes_tell_mixtures_apart(with_corners: Path) -> None:
    mixtures = [Mixture(), Mixture(0), Mixture(0.5), Mixture(0.5, 0.25), Mixture(0.25, 0.25)]
    hashes = {presets.hash_weights(with_corners, mixture) for mixture in mixtures}
    assert len(hashes) == len(mixtures)
    before = presets.hash_weights(with_corners, Mixture(0.5))
    presets.write_corners(with_corners, clean=TEXTURED)
    assert presets.hash_weights(with_corners, Mixture(0.5)) != before


@pytest.mark.parametrize(("denoise", "texture"), [(-0.1, 0), (1.1, 0), (0, 2), (float("nan"), 0)])
def test_numbers_out_of_range_are_refused(denoise: float, texture: float) -> None:
    with pytest.raises(RequestError, match="must be 0 to 1"):
        Mixture(denoise, texture)


def test_a_preset_without_corners_says_so(tmp_path: Path) -> None:
    folder = preset(tmp_path / "plain")
    assert not presets.has_corners(folder)
    with pytest.raises(RequestError, match=r"^plain: has one set of weights and nothing to mix.*photo_x4"):
        presets.weight_files(folder, Mixture(0.5))


def test_a_preset_without_texture_says_so(with_corners: Path) -> None:
    presets.write_corners(with_corners, clean=CLEAN)
    assert presets.has_corners(with_corners)
    with pytest.raises(RequestError, match="photo: has no texture: give --texture 0"):
        presets.read_weights(with_corners, Mixture(1, 0.4))


def test_photo_x4_ships_with_texture_and_photo_x2_without() -> None:
    folder = presets.find("photo_x4")
    restored, textured = (presets.read_weights(folder, Mixture(1, texture)) for texture in (0, 1))
    assert restored.keys() == textured.keys()
    assert any(not np.array_equal(restored[name], textured[name]) for name in restored)
    with pytest.raises(RequestError, match="photo_x2: has no texture: give --texture 0"):
        presets.read_weights(presets.find("photo_x2"), Mixture(1, 0.4))
    # So the default for a texture is the one that has it, at every factor.
    assert list(networks_of(None, mixture=Mixture(1, 0.4))) == [4]
    assert list(networks_of(None, mixture=Mixture(0.4))) == [2, 4]


def test_a_corner_of_another_network_is_refused(with_corners: Path) -> None:
    alien = {**CLEAN, "head/bias": np.zeros(9, np.float16)}
    with pytest.raises(RequestError, match=r"clean\.safetensors: head/bias is not that"):
        presets.write_corners(with_corners, clean=alien)
    assert presets.read_weights(with_corners, Mixture(0))["head/bias"].shape == (8,)
    presets.write_safetensors(with_corners / "clean.safetensors", alien)
    with pytest.raises(RequestError, match="head/bias is not that"):
        presets.read_weights(with_corners, Mixture(0.5))


@pytest.mark.parametrize("corners", [["clean"], {"clean": 3}, {"clean": "no_such_preset"}])
def test_a_damaged_list_of_corners_is_refused(with_corners: Path, corners: object) -> None:
    path = with_corners / presets.CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "corners": corners}), encoding="utf-8")
    with pytest.raises(RequestError, match=r"config\.json: "):
        presets.read_weights(with_corners, Mixture(0))
