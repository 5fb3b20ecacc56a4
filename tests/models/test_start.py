"""Starting one network from another: the weights of another scale."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import photograph
from tiny_models import numpy, randomise

from isr.errors import RequestError
from isr.imresize import imresize
from isr.metrics import psnr
from isr.models import EDSR
from isr.models.starts.kernels import resample_phases


def arrays(model: EDSR) -> dict[str, np.ndarray]:
    return {name: numpy(value) for name, value in model.named_weights().items()}


def small(scale: int) -> EDSR:
    return EDSR(scale, num_features=8, num_blocks=1)


def test_resampling_to_the_same_factor_changes_nothing() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 4 * 5))
    assert np.allclose(resample_phases(kernel, 2, 2), kernel)


@pytest.mark.parametrize(("old", "new"), [(2, 3), (3, 2), (4, 3)])
def test_filters_that_are_linear_in_their_place_are_resampled_exactly_inside(old: int, new: int) -> None:
    def ramp(factor: int) -> np.ndarray:  # one feature whose weight is the place of the sub-pixel, y + 10 x
        place = (np.arange(factor) + 0.5) / factor
        return (place[:, None] + 10 * place[None]).reshape(1, 1, 1, -1)

    inside = [i for i in range(new) if 0.5 / old <= (i + 0.5) / new <= 1 - 0.5 / old]
    got = resample_phases(ramp(old), old, new).reshape(new, new)
    assert inside
    assert np.allclose(got[np.ix_(inside, inside)], ramp(new).reshape(new, new)[np.ix_(inside, inside)])


def test_the_same_scale_is_copied() -> None:
    source, model = randomise(small(2)), small(2)
    assert model.adopt(arrays(source), "source") == []
    assert all(np.array_equal(value, arrays(source)[name]) for name, value in arrays(model).items())


@pytest.mark.parametrize("scale", [3, 4, 8])
def test_another_scale_starts_close_to_what_the_first_one_does(scale: int) -> None:
    source = small(2)
    source.start_as_interpolation()
    model = small(scale)
    made = model.adopt(arrays(source), "source")
    assert made and all(name.startswith("upsampler/") for name in made)
    assert np.array_equal(arrays(model)["block0/conv1/kernel"], arrays(source)["block0/conv1/kernel"])

    hr = photograph(96, 96)
    lr = imresize(hr, scale=1 / scale)
    sr = np.clip(numpy(model(lr[None].astype("float32") / 255))[0], 0, 1)
    bicubic = imresize(lr, scale=scale).astype("float32") / 255
    how = {"channel": "rgb", "border": scale}
    assert psnr(sr, hr / 255.0, **how) > psnr(bicubic, hr / 255.0, **how) - 1.5


def test_a_smaller_scale_leaves_the_later_steps_out() -> None:
    source, model = randomise(small(4)), small(2)
    model.adopt(arrays(source), "source")
    expected = arrays(source)["upsampler/conv0/kernel"]
    assert np.array_equal(arrays(model)["upsampler/conv0/kernel"], expected)


def test_another_body_is_refused_and_nothing_is_assigned() -> None:
    source, model = EDSR(2, num_features=8, num_blocks=2), small(2)
    before = arrays(model)
    with pytest.raises(RequestError, match=r"photo\.safetensors: weights of another model: .*block1/conv1"):
        model.adopt(arrays(source), "photo.safetensors")
    assert all(np.array_equal(value, before[name]) for name, value in arrays(model).items())
