"""Everything about models holds on Keras' JAX backend, too, where TensorFlow cannot be imported."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from children import run_python
from tiny_models import CASES, FIRST, TINY, Case, pictures, randomise

from isr.models import list_models
from isr.runtimes import as_upscaler

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")

NAMES = [model.__name__ for model in list_models()]
# Most of the time goes into compiling hundreds of tiny kernels.
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


@pytest.fixture(scope="module")
def no_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, first on the path, makes `import tensorflow` fail in a process and in its children."""
    folder = tmp_path_factory.mktemp("no_tensorflow")
    (folder / "tensorflow").mkdir()
    error = "raise ModuleNotFoundError('tensorflow is hidden by the test', name='tensorflow')\n"
    (folder / "tensorflow" / "__init__.py").write_text(error, encoding="utf-8")
    return folder


# Compiling their many kernels takes minutes; that all of them agree with TensorFlow is also told below.
@pytest.mark.slow
@pytest.mark.parametrize("network", NAMES)
def test_model_contract_holds_where_tensorflow_is_absent(network: str, no_tensorflow: Path) -> None:
    # As text, RDN also chooses RRDN, and EDSR what is built on one.
    others = (name for name in NAMES if name != network and (network in name or network in str(TINY[name])))
    chosen = " and not ".join([network, *others])
    report = run_python(
        "-m",
        "pytest",
        "tests/models/test_model_contract.py",
        *("-q", "-n", "0", "-m", "not slow", "-k", chosen, "-p", "no:cacheprovider"),
        env=JAX,
        first_on_path=no_tensorflow,
        timeout=3600,
    )
    passed = re.search(r"(\d+) passed", report)
    assert passed and int(passed[1]) > 20, report[-2000:]
    assert "skipped" not in report.splitlines()[-1], report[-2000:]


@pytest.mark.parametrize("cases", [FIRST, pytest.param(CASES, marks=pytest.mark.slow)], ids=["first", "all"])
def test_tensorflow_and_jax_agree(cases: list[Case], no_tensorflow: Path, tmp_path: Path) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("this process does not run on TensorFlow")
    expected = []
    for index, case in enumerate(cases):
        model = randomise(case.build())
        model.save_preset(tmp_path / str(index))
        np.save(tmp_path / f"{index}.npy", pictures(model, 9, 7, batch=2))
        expected.append(as_upscaler(model)(pictures(model, 9, 7, batch=2)))
    code = (
        "import sys, pathlib, keras, numpy as np\n"
        "from isr.models.loading import load\n"
        "from isr.runtimes import as_upscaler\n"
        "assert keras.backend.backend() == 'jax'\n"
        "try:\n"
        "    import tensorflow\n"
        "except ModuleNotFoundError:\n"
        "    for path in pathlib.Path(sys.argv[1]).glob('*.npy'):\n"
        "        np.save(path.with_suffix('.out'), as_upscaler(load(path.with_suffix('')))(np.load(path)))\n"
        "else:\n"
        "    raise SystemExit('TensorFlow was found')\n"
    )
    run_python("-c", code, str(tmp_path), env=JAX, first_on_path=no_tensorflow)
    for index, output in enumerate(expected):
        jax_output = np.load(tmp_path / f"{index}.out.npy")
        np.testing.assert_allclose(jax_output, output, atol=1e-5 * np.abs(output).max())
