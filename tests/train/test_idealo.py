"""idealo ISR's training snippet, as the page about it shows it, and the arguments it stands for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph
from PIL import Image

from isr.errors import RequestError
from isr.imresize import imresize
from isr.models import RRDN, Discriminator
from isr.models.loading import load
from isr.progress import Silent
from isr.train.idealo import Trainer

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-idealo.md"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of the snippet, in the working directory."""
    for kind, count, side in (("training", 2, 96), ("validation", 3, 64)):
        for index in range(count):
            hr = photograph(side, side, seed=index)
            for name, pixels in (("high_res", hr), ("low_res", imresize(hr, scale=0.5))):
                folder = tmp_path / name / kind / "images"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_snippet_of_the_page_trains(folders: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert snippet
    code = snippet[1]
    for large, small in (  # the same in seconds
        (
            '{"C": 4, "D": 3, "G": 64, "G0": 64, "T": 10, "x": scale}',
            '{"C": 1, "D": 1, "G": 4, "G0": 4, "T": 1, "x": scale}',
        ),
        ("Discriminator(kernel_size=3)", "Discriminator(kernel_size=3, num_features=4)"),
        ("epochs=80, steps_per_epoch=500, batch_size=16", "epochs=2, steps_per_epoch=3, batch_size=2"),
        ("lr_patch_size=40", "lr_patch_size=16"),
        ("n_validation=40", "n_validation=2"),
    ):
        assert large in code
        code = code.replace(large, small)
    exec(compile(code, PAGE.name, "exec"), {"__name__": "snippet"})
    run = folders / "weights" / "image_dataset"
    assert isinstance(load(run / "best"), RRDN) and (run / "discriminator.safetensors").is_file()
    rows = (run / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "3", "6"]


def tiny(**arguments: object) -> Trainer:
    network = RRDN.from_idealo({"C": 1, "D": 1, "G": 4, "G0": 4, "T": 1, "x": 2})
    return Trainer(network, progress=Silent(), **arguments)  # type: ignore[arg-type]


def test_arguments_become_keys_of_the_configuration() -> None:
    trainer = tiny(
        discriminator=Discriminator(num_features=4),
        hr_train_dir="a",
        hr_valid_dir="b",
        loss_weights={"generator": 0.5, "discriminator": 0.25},
        losses={"generator": "mse", "discriminator": "mse"},
        learning_rate={"initial_value": 0.1},
        adam_optimizer={"beta1": 0.8, "epsilon": None},
        log_dirs={"weights": "here"},
        dataname="set",
        lr_patch_size=20,
    )
    config = trainer.config
    assert config["run"] == str(Path("here") / "set")
    assert config["data"]["patch_size"] == 40 and config["data"]["train_lr"] is None
    optimizer, perceptual = config["optimizer"], config["perceptual"]
    assert (optimizer["loss"], optimizer["learning_rate"], optimizer["beta_1"]) == ("mse", 0.1, 0.8)
    assert (optimizer["beta_2"], optimizer["epsilon"]) == (0.999, 1e-7)
    assert (perceptual["pixel_weight"], perceptual["adversarial_weight"]) == (0.5, 0.25)
    assert perceptual["adversarial_loss"] == "least_squares"
    assert perceptual["content_weight"] == 0  # there is no extractor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_weights": {"feat_extr": 0.1}}, "loss_weights: 'feat_extr' is unknown"),
        ({"losses": {"generator": "huber"}}, "losses: generator 'huber'"),
        ({"metrics": {"generator": "PSNR"}}, "metrics"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        tiny(**arguments)


def test_a_metric_that_is_not_measured_is_an_error_before_training(folders: Path) -> None:
    trainer = tiny(hr_train_dir="high_res/training/images", hr_valid_dir="high_res/validation/images")
    with pytest.raises(RequestError, match="val_loss"):
        trainer.train(1, 1, 1, monitored_metrics={"val_loss": "min"})
    assert not (folders / "weights").exists()


def test_the_same_call_continues(folders: Path) -> None:
    folder = {"hr_train_dir": "high_res/training/images", "hr_valid_dir": "high_res/validation/images"}
    for epochs in (1, 2):
        best = tiny(**folder, lr_patch_size=8, dataname="run").train(epochs, steps_per_epoch=2, batch_size=2)
    rows = (best.parent / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "2", "4"]


def test_an_argument_that_makes_no_configuration_is_one_line(folders: Path) -> None:
    with pytest.raises(RequestError, match=r"^the arguments: data.batch_size: .* not 0$"):
        tiny(hr_train_dir="a", hr_valid_dir="b").train(1, steps_per_epoch=1, batch_size=0)


def test_weights_can_be_taken_over(folders: Path) -> None:
    before = RRDN.from_idealo({"C": 1, "D": 1, "G": 4, "G0": 4, "T": 1, "x": 2})
    before.head.bias.assign(np.arange(4))
    before.save_preset(folders / "before")
    trainer = tiny(weights_generator=folders / "before" / "weights.safetensors")
    np.testing.assert_array_equal(np.asarray(trainer.generator.head.bias), np.arange(4))  # type: ignore[attr-defined]
