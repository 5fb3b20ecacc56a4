"""Settings that all tests share."""

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A fixture of several folders.
from object_store import store  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

# The first call compiles, and the machine may be busy.
settings.register_profile("isr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("isr")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks that the tests convert are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def the_same_weights_every_time() -> None:
    """A network that begins at random takes its seeds from here, so that a test passes always or never."""
    random.seed(0)


@pytest.fixture
def keras_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What "auto" means on a machine without other engines and without bfloat16: what arrays are computed in."""
    from isr.predict import choice, source

    monkeypatch.setattr(source, "candidates", lambda: [source.backend()])
    monkeypatch.setattr(choice, "AUTOMATIC_PRECISION", "float32")
