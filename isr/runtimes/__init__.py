"""Ways to run a model: each opens something as an `isr.spec.Upscaler`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from isr import presets
from isr.errors import RequestError
from isr.presets import Mixture
from isr.runtimes.devices import import_keras
from isr.spec import Upscaler

if TYPE_CHECKING:
    from isr.aplus import APlus
    from isr.models import SuperResolutionModel

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def load_upscaler(source: str | Path, mixture: Mixture | None = None) -> SuperResolutionModel | APlus:
    """Open whatever upscales, from a preset or a `.keras` file: a network, or A+, for which Keras is not imported.

    Args:
        source: what to open.
        mixture: of a preset's corners; None: its own weights.

    Raises:
        RequestError: as `isr.models.loading.load`.
    """
    path = Path(source)
    if path.suffix != ".keras" and not path.is_file():
        from isr.aplus import APlus

        if presets.read_config(presets.find(source))["model"] == APlus.__name__:
            return APlus.from_preset(source)
    import_keras()
    from isr.models.loading import load

    if mixture is None:
        return load(source)
    return load(source, denoise=mixture.denoise, texture=mixture.texture)


def as_upscaler(model: SuperResolutionModel | Upscaler, precision: str = "float32") -> Upscaler:
    """Make an upscaler of a Keras model on the running backend; what already is one passes through.

    Args:
        model: a network of the package, or an upscaler.
        precision: "float32", or "bfloat16" for bfloat16 convolutions with float32 weights.

    Raises:
        RequestError: the precision is another one, or the package does not run on the backend.
    """
    import keras

    from isr.models import MultiFrameModel

    if not isinstance(model, keras.Model):
        return cast(Upscaler, model)
    if precision not in PRECISIONS:
        raise RequestError(f"precision {precision!r} is unknown; it is one of {', '.join(PRECISIONS)}")
    model = cast("SuperResolutionModel", model)
    if model.dtype_policy.name != PRECISIONS[precision]:
        model = model.with_policy(PRECISIONS[precision])
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from isr.runtimes.tensorflow import TensorFlowFramesUpscaler, TensorFlowUpscaler

        frames = isinstance(model, MultiFrameModel)
        return TensorFlowFramesUpscaler(model) if frames else TensorFlowUpscaler(model)
    if backend == "jax":
        from isr.runtimes.jax import JaxFramesUpscaler, JaxUpscaler

        return JaxFramesUpscaler(model) if isinstance(model, MultiFrameModel) else JaxUpscaler(model)
    raise RequestError(f"Keras runs on {backend!r}; this package runs on tensorflow and jax")
