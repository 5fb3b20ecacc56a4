"""Training on several devices: the same steps as on one, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from children import run_python
from pictures import folder_of_photographs, photograph
from PIL import Image
from safetensors.numpy import load_file
from training_runs import assert_same_arrays, keys_of

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import RequestError
from isr.models import EDSR, TDAN
from isr.train import Trainer
from isr.train.build import find_strategy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="replicas are TensorFlow's MirroredStrategy"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 2)
    folder_of_photographs(folder / "val", 1, 40, 48)
    keras.utils.set_random_seed(0)
    EDSR(2, num_features=4, num_blocks=1).save_preset(folder / "start")
    picture = photograph(64, 64, seed=1)
    (folder / "clips" / "c").mkdir(parents=True)
    for frame in range(4):
        Image.fromarray(picture[frame:][:40, 2 * frame :][:, :48]).save(
            folder / "clips" / "c" / f"{frame}.png"
        )
    return folder


def keys(photos: Path, run: Path, **changes: object) -> list[str]:
    base = {
        "model.arguments": "{scale: 2, num_features: 4, num_blocks: 1}",
        "model.start_from": photos / "start",
        "data.cache": photos / "cache",
        "data.patch_size": 16,
        "data.batch_size": 4,
        "optimizer.learning_rate": 0.1,
        "optimizer.schedule": "constant",
        "optimizer.warmup_steps": 0,
        "optimizer.epsilon": 1e-3,  # or Adam makes steps of gradients that are rounding
        "optimizer.clip_norm": 0.02,
        "optimizer.average_momentum": 0.5,
        "steps.total": 5,
        "steps.validate_every": 3,
        "steps.save_every": 3,
    }
    return keys_of(photos, run, **{**base, **changes})


def config(photos: Path, run: Path, **changes: object) -> TrainConfig:
    return configuration.load(None, keys(photos, run, **changes))


# Runs configurations one after the other in a process with two logical processors.
TWO_DEVICES = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from isr import config
from isr.train import Trainer
for keys in json.loads(sys.argv[1]):
    trainer = Trainer(config.load(None, keys))
    trainer.train()
    print(trainer.objective.replicas)
"""


def train_on_two_devices(*runs: list[str]) -> list[int]:
    return [int(line) for line in run_python("-c", TWO_DEVICES, json.dumps(runs)).split()]


def assert_same_run(start: Path, one: Path, other: Path) -> None:
    a, b = (load_file(run / "state.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    before = load_file(start / "weights.safetensors")
    for name, expected in a.items():
        begin = before[name.removeprefix("model/")] if name.startswith("model/") else 0
        moved = np.abs(expected - begin).max()
        assert moved > 0, name
        np.testing.assert_allclose(b[name], expected, rtol=0, atol=1e-4 * moved + 1e-9, err_msg=name)
    logs = [(run / "log.csv").read_text(encoding="utf-8").splitlines() for run in (one, other)]
    assert logs[0][0] == logs[1][0]
    names = logs[0][0].split(",")
    for row, same in zip(*(log[1:] for log in logs), strict=True):
        for name, x, y in zip(names, row.split(","), same.split(","), strict=True):
            if name != "seconds":
                assert bool(x) == bool(y) and float(x or 0) == pytest.approx(float(y or 0), rel=1e-4), name


def moments(run: Path) -> float:
    """Norm of the first moments of all weights."""
    slots = load_file(run / "state.safetensors")
    weights = sum(name.startswith("model/") for name in slots)
    first = [slots[f"optimizer/{1 + 2 * index:05d}"] for index in range(weights)]
    return float(np.sqrt(sum(np.sum(np.square(array)) for array in first)))


@pytest.mark.slow
def test_two_devices_make_the_steps_of_one(photos: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    Trainer(config(photos, one)).train()
    found = train_on_two_devices(
        keys(photos, two, mirrored="true", **{"steps.total": 3}),
        keys(photos, two, mirrored="true"),  # goes on after 3 steps
    )
    assert found == [2, 2]
    assert_same_run(photos / "start", one, two)
    free = {"optimizer.clip_norm": "null", "steps.total": 1}
    Trainer(config(photos, tmp_path / "free", **free)).train()
    assert moments(tmp_path / "free") > 0.1 * 3 * 0.02  # the norm of the first gradient was there to be cut
    assert_same_arrays(*(run / "last" / "weights.safetensors" for run in (one, two)), within=1e-4)


@pytest.mark.slow
def test_two_devices_judge_as_one(photos: Path, tmp_path: Path) -> None:
    changes = {
        "perceptual.content_weight": 0.5,
        "perceptual.content_layers": "{block1_conv2: 1.0}",
        "perceptual.adversarial_weight": 0.1,
        "perceptual.adversarial_loss": "least_squares",
        "perceptual.discriminator": "unet",  # without batch normalisation
        "perceptual.discriminator_features": 2,
        "perceptual.total_variation_weight": 0.01,
        "data.patch_size": 32,
        "steps.total": 3,
        "steps.validate_every": 3,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    train_on_two_devices(
        keys(photos, one, **changes),
        keys(photos, two, **changes, mirrored="true"),
    )
    assert_same_run(photos / "start", one, two)
    judges = [load_file(run / "discriminator.safetensors") for run in (one, two)]
    assert judges[0].keys() == judges[1].keys()


@pytest.mark.slow
def test_two_devices_align_as_one(photos: Path, tmp_path: Path) -> None:
    # The alignment loss, a loss that is a sum, and deformable convolutions that move later.
    arguments = {"num_features": 8, "num_frames": 3, "num_extract_blocks": 0, "num_reconstruct_blocks": 1}
    TDAN(2, deform_groups=2, **arguments).save_preset(tmp_path / "start")
    changes = {
        "model.name": "TDAN",
        "model.arguments": json.dumps({"scale": 2, "deform_groups": 2, **arguments}),
        "model.start_from": tmp_path / "start",
        "data.train_clips": photos / "clips",
        "data.val_clips": photos / "clips",
        "optimizer.loss": "charbonnier_sum",
        "optimizer.alignment_weight": 1000,
        "optimizer.only": "[fuse, align]",
        "optimizer.only_steps": 1,
        "steps.total": 3,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    train_on_two_devices(keys(photos, one, **changes), keys(photos, two, **changes, mirrored="true"))
    assert_same_run(tmp_path / "start", one, two)


def test_one_device_trains_as_without(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from isr.train import replicas_tensorflow

    device = tf.config.list_logical_devices("CPU")[:1]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: device if kind == "CPU" else [])
    monkeypatch.setattr(replicas_tensorflow, "mirrored", replicas_tensorflow.mirrored.__wrapped__)
    changes = {"optimizer.average_momentum": 0, "steps.total": 2, "steps.validate_every": 2}
    for name, mirrored in (("plain", "false"), ("mirrored", "true")):
        Trainer(config(photos, tmp_path / name, mirrored=mirrored, **changes)).train()
    a, b = (load_file(tmp_path / name / "state.safetensors") for name in ("plain", "mirrored"))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.accumulate": 2}, r"^mirrored: optimizer\.accumulate must be 1"),
        ({"steps.per_execution": 2}, r"^mirrored: steps\.per_execution must be 1"),
        ({"data.batch_size": 4}, r"^mirrored: data\.batch_size 4 cannot be divided by the 3 devices"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(
        "isr.train.replicas_tensorflow.mirrored", lambda: SimpleNamespace(num_replicas_in_sync=3)
    )
    with pytest.raises(RequestError, match=message):
        Trainer(config(photos, tmp_path / "run", mirrored="true", **changes))
    assert not list(tmp_path.iterdir())


def test_instances_and_other_backends_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(photos, photos / "run", mirrored="true", **{"data.batch_size": 6})
    monkeypatch.setattr(
        "isr.train.replicas_tensorflow.mirrored", lambda: SimpleNamespace(num_replicas_in_sync=3)
    )
    assert find_strategy(asked, [None]).num_replicas_in_sync == 3
    with pytest.raises(RequestError, match=r"^mirrored: an instance"):
        find_strategy(asked, [EDSR(2, num_features=4, num_blocks=1)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RequestError, match=r"^mirrored: works on TensorFlow, not on jax"):
        find_strategy(asked, [None])
