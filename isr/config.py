"""The configuration of a training run: schema, defaults, units and documentation in one place."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from isr.errors import RequestError, first_line

# Not plain strings in YAML 1.1 or 1.2.
YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null"}


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _plain(node: Any) -> Any:
    """Tuples, and ruamel's round-trip containers and numbers, as the plain values that a file gives back."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


class ModelConfig(Section):
    """The network."""

    name: str = Field("EDSR", description="the network; `isr models` lists the names")
    arguments: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(
        {}, description="arguments of the network, such as {scale: 3}; all others keep their defaults"
    )
    start_from: str | None = Field(
        "interpolation",
        description="first weights; interpolation: start as bicubic interpolation; a preset, folder or "
        ".safetensors file: take its weights, also for another scale; null: random",
    )


# Degradations. A key has one meaning and one range in every pass, and defaults of its own.


def _rising(span: list[Any]) -> list[Any]:
    if span[0] > span[1]:
        raise ValueError("the first must be at most the second")
    return span


T = TypeVar("T")
Span = Annotated[list[T], Field(min_length=2, max_length=2), AfterValidator(_rising)]


def _odd(span: list[int]) -> list[int]:
    if any(taps % 2 == 0 for taps in span):
        raise ValueError("both must be odd")
    return span


def _some(weights: dict[str, float]) -> dict[str, float]:
    if not sum(weights.values()) > 0:
        raise ValueError("one must be over 0")
    return weights


def _share(of_what: str) -> Any:
    return Field(ge=0, le=1, description=of_what)


def _span(of_what: str) -> Any:
    return Field(description=f"list: lowest and highest {of_what}")


Kernel = Literal[
    "isotropic",
    "anisotropic",
    "generalised",
    "generalised_anisotropic",
    "plateau",
    "plateau_anisotropic",
]
Sigma = Annotated[float, Field(gt=0, le=20)]
Shape = Annotated[float, Field(gt=0, le=10)]
Quality = Annotated[int, Field(ge=1, le=100)]
Weight = Annotated[float, Field(ge=0)]
Taps = Annotated[int, Field(ge=3, le=51)]

BlurShare = Annotated[float, _share("share of patches that are blurred")]
KernelTaps = Annotated[
    Span[Taps],
    _span("side of a blur kernel, odd; pixels, 3 to 51"),
    AfterValidator(_odd),
]
Kernels = Annotated[
    dict[Kernel, Weight],
    Field(description="how often each shape of blur kernel is drawn; relative"),
    AfterValidator(_some),
]
BlurSigma = Annotated[Span[Sigma], _span("sigma of a blur kernel along an axis; pixels, to 20")]
GeneralisedShape = Annotated[
    Span[Shape],
    _span("exponent of generalised Gaussians, half of them under 1; 1: a Gaussian"),
]
PlateauShape = Annotated[Span[Shape], _span("exponent of plateau kernels")]
SincShare = Annotated[float, _share("share of the blurs whose kernel is a sinc filter, which leaves rings")]
SincCutoff = Annotated[
    Span[Annotated[float, Field(gt=0, le=1)]],
    _span("frequency that a sinc filter keeps; 1: the Nyquist frequency"),
]
Resize = Annotated[
    dict[Literal["up", "down", "keep"], Weight],
    Field(description="how often the size goes up, down or stays; relative"),
    AfterValidator(_some),
]
ResizeRange = Annotated[
    Span[Annotated[float, Field(ge=0.05, le=4)]],
    _span(
        "factor of both sides, 0.05 to 4; of the size before in a first pass of two, of the final size in the last"
    ),
]
Interpolations = Annotated[
    dict[Literal["area", "bilinear", "bicubic"], Weight],
    Field(description="how often each interpolation resizes; relative"),
    AfterValidator(_some),
]
NoiseShare = Annotated[float, _share("share of patches that get noise")]
GaussianShare = Annotated[float, _share("share of the noises that are Gaussian; the others are Poisson")]
NoiseSigma = Annotated[
    Span[Annotated[float, Field(ge=0, le=255)]],
    _span("sigma of Gaussian noise; levels of 255"),
]
PoissonScale = Annotated[
    Span[Annotated[float, Field(ge=0, le=20)]],
    _span("factor on Poisson noise, to 20; 1: 256 photons in white"),
]
GrayShare = Annotated[float, _share("share of the noises that are the same in all channels")]
CompressShare = Annotated[float, _share("share of patches that are compressed")]
WebpShare = Annotated[float, _share("share of the compressions that are WebP; the others are JPEG")]
CompressQuality = Annotated[Span[Quality], _span("quality of JPEG and WebP, 1 to 100")]


class DegradationPass(Section):
    """One pass of blur, resizing, noise and compression; the identity, unless told otherwise."""

    blur_share: BlurShare = 0.0
    kernel_taps: KernelTaps = [7, 21]
    kernels: Kernels = {"isotropic": 1.0}
    sigma: BlurSigma = [0.2, 1.0]
    generalised_shape: GeneralisedShape = [0.5, 4.0]
    plateau_shape: PlateauShape = [1.0, 2.0]
    sinc_share: SincShare = 0.0
    sinc_cutoff: SincCutoff = [0.33, 1.0]
    resize: Resize = {"up": 0.0, "down": 0.0, "keep": 1.0}
    resize_range: ResizeRange = [1.0, 1.0]
    interpolations: Interpolations = {"area": 0.0, "bilinear": 0.0, "bicubic": 1.0}
    noise_share: NoiseShare = 0.0
    gaussian_share: GaussianShare = 0.5
    noise_sigma: NoiseSigma = [0.0, 0.0]
    poisson_scale: PoissonScale = [0.0, 0.0]
    gray_share: GrayShare = 0.4
    compress_share: CompressShare = 0.0
    webp_share: WebpShare = 0.0
    quality: CompressQuality = [30, 95]


class LightPass(DegradationPass):
    """The pass of `jpeg`."""

    blur_share: BlurShare = 0.3
    kernel_taps: KernelTaps = [7, 13]
    sigma: BlurSigma = [0.2, 1.5]
    noise_share: NoiseShare = 0.5
    gaussian_share: GaussianShare = 1.0
    noise_sigma: NoiseSigma = [1.0, 5.0]
    compress_share: CompressShare = 1.0


REAL_KERNELS: dict[Kernel, float] = {
    "isotropic": 0.45,
    "anisotropic": 0.25,
    "generalised": 0.12,
    "generalised_anisotropic": 0.03,
    "plateau": 0.12,
    "plateau_anisotropic": 0.03,
}


class FirstPass(DegradationPass):
    """The first pass of `real`."""

    blur_share: BlurShare = 1.0
    kernels: Kernels = REAL_KERNELS
    sigma: BlurSigma = [0.2, 3.0]
    sinc_share: SincShare = 0.1
    resize: Resize = {"up": 0.2, "down": 0.7, "keep": 0.1}
    resize_range: ResizeRange = [0.15, 1.5]
    interpolations: Interpolations = {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}
    noise_share: NoiseShare = 1.0
    noise_sigma: NoiseSigma = [1.0, 30.0]
    poisson_scale: PoissonScale = [0.05, 3.0]
    compress_share: CompressShare = 1.0


class SecondPass(FirstPass):
    """The second pass of `real`; its compression is the last step of all, or the last but one."""

    blur_share: BlurShare = 0.8
    sigma: BlurSigma = [0.2, 1.5]
    resize: Resize = {"up": 0.3, "down": 0.4, "keep": 0.3}
    resize_range: ResizeRange = [0.3, 1.2]
    noise_sigma: NoiseSigma = [1.0, 25.0]
    poisson_scale: PoissonScale = [0.05, 2.5]


LastSincShare = Annotated[float, _share("share of patches that a sinc filter ends")]
CompressFirstShare = Annotated[
    float, _share("share of patches that are compressed before they get their final size and that filter")
]


class DegradationEnd(Section):
    """How a degradation ends."""

    last_sinc_share: LastSincShare = 0.0
    last_sinc_taps: Annotated[Span[Taps], _span("side of it, odd; pixels, 3 to 51"), AfterValidator(_odd)] = [
        7,
        21,
    ]
    last_sinc_cutoff: SincCutoff = [0.33, 1.0]
    compress_first_share: CompressFirstShare = 0.0
    codec_share: Annotated[
        float, _share("share of windows of clips that a video codec compresses at last")
    ] = 1.0
    h265_share: Annotated[float, _share("share of these that are H.265; the others are H.264")] = 0.5
    crf: Annotated[
        Span[Annotated[int, Field(ge=0, le=51)]],
        _span("constant rate factor of the codec, 0 to 51"),
    ] = [18, 35]


class JpegConfig(DegradationEnd):
    """For degradation: jpeg. One light pass; low resolution is made by its resizing."""

    once: LightPass = Field(default_factory=lambda: LightPass())

    @property
    def passes(self) -> tuple[DegradationPass, ...]:
        """Return the passes in their order."""
        return (self.once,)


class RealConfig(DegradationEnd):
    """For degradation: real. Two passes, with the figures of Real-ESRGAN (Wang et al. 2021)."""

    last_sinc_share: LastSincShare = 0.8
    compress_first_share: CompressFirstShare = 0.5
    first: FirstPass = Field(default_factory=lambda: FirstPass())
    second: SecondPass = Field(default_factory=lambda: SecondPass())

    @property
    def passes(self) -> tuple[DegradationPass, ...]:
        """Return the passes in their order."""
        return self.first, self.second


class DataConfig(Section):
    """The pictures, or the clips of a video network."""

    train_hr: str = Field(
        "photos/train", description="folder of high-resolution pictures to train on, searched recursively"
    )
    train_lr: str | None = Field(
        None,
        description="folder of their low-resolution partners; null: made by MATLAB's bicubic rule, or by "
        "data.degradation",
    )
    val_hr: str = Field("photos/val", description="folder of pictures to validate on, never trained on")
    val_lr: str | None = Field(
        None, description="folder of their low-resolution partners; null: made, as above"
    )
    val_count: int | None = Field(
        None,
        ge=1,
        description="how many of the pictures to validate on, spread evenly over their names; null: all",
    )
    patch_size: int = Field(96, ge=8, description="side of an HR patch; pixels, a multiple of the scale")
    batch_size: int = Field(
        16, ge=1, description="patches per batch; optimizer.accumulate batches make a step"
    )
    candidates: int = Field(
        4,
        ge=1,
        description="places drawn per patch, one of which is chosen, preferably with detail; 1: no "
        "preference",
    )
    flatness: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="patches with a smaller mean gradient are drawn again; difference of neighbouring "
        "pixels, 0 to 1",
    )
    augment: bool = Field(True, description="apply the eight flips and quarter turns")
    scale_augment: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [],
        description="list: train also on copies of the pictures made smaller by these factors, such as "
        "0.8; only where the low resolution is made",
    )
    train_clips: str | None = Field(
        None,
        description="video networks: folder of clips to train on, each a video file or a folder of frames; "
        "or a .txt file that lists them, as Vimeo-90K has",
    )
    train_clips_lr: str | None = Field(
        None, description="folder of their low-resolution partners; null: made by data.degradation"
    )
    val_clips: str | None = Field(
        None, description="video networks: folder of clips to validate on, never trained on"
    )
    val_clips_lr: str | None = Field(
        None, description="folder of their low-resolution partners; null: made, as above"
    )
    val_stride: int = Field(8, ge=1, description="score every n-th frame of a validation clip; frames")
    degradation: Literal["bi", "bd", "jpeg", "real"] = Field(
        "bi",
        description="how low resolution is made, or was made; bi: MATLAB's bicubic rule; bd (clips): Gaussian "
        "blur of sigma 0.4 * scale, then every scale-th pixel; jpeg, real: blur, noise and compression, drawn "
        "for every patch as the sections of these names say",
    )
    val_strength: int = Field(
        2,
        ge=0,
        le=3,
        description="for jpeg and real: fixed strength at which what is validated on is degraded, as by `isr "
        "degrade`; 0: not at all",
    )
    echoes: int = Field(
        1,
        ge=1,
        le=8,
        description="for jpeg and real: steps in which a degraded patch serves, each time flipped or turned another "
        "way and among other patches; a divisor of batch_size",
    )
    frame_intervals: list[Annotated[int, Field(ge=0)]] = Field(
        [1],
        min_length=1,
        description="list: distances from one frame of a window to the next, one drawn for every window; "
        "frames; 0: the same frame repeated",
    )
    photo_motion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of windows made by moving over photographs of data.train_hr",
    )
    scenes: int = Field(
        400,
        ge=1,
        description="for the stages flow and fusion: how many scenes are filmed over photographs of data.train_hr, "
        "once, into data.cache",
    )
    noise_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="for the stage fusion: share of windows that are cut from scenes with noise, which the base "
        "enlarges with the rest; the target has none",
    )
    noise_sigma: Span[Annotated[float, Field(ge=0)]] = Field(
        [2.0, 16.0],
        description="list: least and largest standard deviation of that noise, Gaussian, one drawn for every scene; "
        "levels of 255",
    )
    reverse: bool = Field(True, description="run half of the windows backwards in time")
    clip_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="how often clips are drawn, by patterns of their names such as park_*; multiplied by "
        "their frames and pixels; 1 where no pattern matches",
    )
    cache: str | None = Field(
        None,
        description="folder for decoded pictures and clips (3 bytes per HR pixel, and the share of LR: "
        "1.25 times that at x2), or s3://..., which keeps decoded pictures for all machines; null: in the run",
    )
    jpeg: JpegConfig = Field(default_factory=lambda: JpegConfig())
    real: RealConfig = Field(default_factory=lambda: RealConfig())


class OptimizerConfig(Section):
    """Loss, learning rate and averaging."""

    loss: Literal["l1", "mse", "charbonnier", "charbonnier_sum"] = Field(
        "l1",
        description="pixel loss on [0, 1]; charbonnier_sum: summed over the whole batch, as EDVR was "
        "published",
    )
    alignment_weight: float = Field(
        0.25,
        ge=0,
        description="TDAN: weight of the loss that compares aligned frames with the centre frame; 0.25 in "
        "the authors' code, 0.01 in mmagic; 0: off",
    )
    method: Literal["adam", "muon"] = Field(
        "adam", description="muon: Muon for the kernels within the network, and Adam for all other weights"
    )
    learning_rate: float = Field(1e-4, gt=0, description="highest learning rate")
    multipliers: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="factors on the learning rate, for weights whose name contains a text such as "
        "conv_offset",
    )
    only: list[str] = Field(
        [],
        description="list: at first, train only weights whose name contains one of these texts, such as "
        "fusion",
    )
    only_steps: int = Field(0, ge=0, description="for only: steps before all weights are trained")
    schedule: Literal["cosine", "restarts", "halving", "constant"] = Field(
        "cosine", description="how the learning rate falls"
    )
    warmup_steps: int = Field(200, ge=0, description="steps in which the learning rate rises from 0")
    halve_every: int = Field(200_000, ge=1, description="for halving: steps from one time to the next")
    halve_by: float = Field(0.5, gt=0, lt=1, description="for halving: factor on the rate, each time")
    final_fraction: float = Field(
        0.01, ge=0, le=1, description="for cosine and restarts: last rate / highest rate"
    )
    periods: list[Annotated[int, Field(ge=1)]] = Field(
        [150_000, 150_000, 150_000, 150_000],
        min_length=1,
        description="list, for restarts: length of each cosine; steps",
    )
    restart_weights: list[Annotated[float, Field(gt=0)]] = Field(
        [1.0, 0.5, 0.5, 0.5],
        min_length=1,
        description="list, for restarts: highest rate of each cosine / learning_rate",
    )
    beta_1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta_2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the squared gradient")
    epsilon: float = Field(1e-7, gt=0, description="Adam's constant beside the root of the squared gradient")
    clip_norm: float | None = Field(
        None, gt=0, description="largest norm of all gradients together; null: no clipping"
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="batches whose mean gradient makes one step; everything that counts steps counts these",
    )
    average_momentum: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="momentum of the averaged weights, which are validated and kept; 0: no averaging",
    )

    @field_validator("restart_weights")
    @classmethod
    def _one_for_each_period(cls, weights: list[float], info: ValidationInfo) -> list[float]:
        if len(weights) != len(periods := info.data.get("periods", weights)):
            raise ValueError(f"optimizer.periods has {len(periods)} values, so there must be as many")
        return weights


class PerceptualConfig(Section):
    """Losses that make pictures look sharp rather than be close. A weight of 0 turns one off."""

    from_step: int = Field(
        0, ge=0, description="first step with these losses and weights; before it, the pixel loss alone"
    )
    pixel_weight: float = Field(1.0, ge=0, description="weight of optimizer.loss")
    content_weight: float = Field(
        0.0, ge=0, description="weight of the content loss, the difference of VGG features"
    )
    content_loss: Literal["mse", "l1"] = Field("mse", description="how features are compared")
    content_layers: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"block2_conv2": 1.0, "block3_conv3": 1.0},
        min_length=1,
        description="layers of VGG19, and the weight of each",
    )
    before_activation: bool = Field(False, description="compare features before their ReLU, as ESRGAN does")
    vgg: str | None = Field(
        None,
        description="file with the weights of VGG19, Keras' .h5 or .npz; null: those in the package, up to "
        "block3_conv4",
    )
    adversarial_weight: float = Field(
        0.0, ge=0, description="weight of the adversarial loss, the discriminator's judgement"
    )
    adversarial_loss: Literal["vanilla", "least_squares", "relativistic", "hinge"] = Field(
        "vanilla", description="which adversarial loss; relativistic is that of ESRGAN"
    )
    discriminator: Literal["patch", "unet"] = Field(
        "patch",
        description="patch: SRGAN's, which judges patches; unet: Real-ESRGAN's, which judges every pixel",
    )
    discriminator_features: int = Field(64, ge=1, description="channels of the discriminator's first layer")
    discriminator_rate: float = Field(
        1.0, gt=0, description="learning rate of the discriminator / optimizer.learning_rate"
    )
    discriminator_from: str | None = Field(
        None, description="discriminator.safetensors of an earlier run to start from; null: random"
    )
    total_variation_weight: float = Field(
        0.0, ge=0, description="weight of the total variation, the mean difference of neighbouring pixels"
    )
    phase_weight: float = Field(
        0.0, ge=0, description="weight of the phase loss, against a mesh of as many pixels as the scale"
    )
    off_grid: Literal[1, 2, 4, 8] = Field(
        1,
        description="the content and adversarial losses see patches cut by 0 to off_grid - 1 HR pixels, by others "
        "from patch to patch of a batch, so that no grid of theirs rewards a mesh; 1: whole patches",
    )


class StepsConfig(Section):
    """How long to train, and when to validate and save."""

    total: int = Field(300_000, ge=1, description="training steps")
    validate_every: int = Field(
        1000, ge=1, description="steps from one validation to the next; the best weights are kept"
    )
    save_every: int = Field(
        250, ge=1, description="steps from one saved state to the next; a run resumes from the last one"
    )
    per_execution: int = Field(
        1,
        ge=1,
        description="steps that run before control returns to Python; more is faster where steps are short",
    )


class TrainConfig(Section):
    """The configuration of `isr train`."""

    run: str = Field("runs/edsr_baseline_x2", description="folder of the run; the same command resumes it")
    seed: int = Field(0, ge=0, description="seed of the weights and batches")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16: convolutions in bfloat16, weights in float32; faster on processors with "
        "avx512_bf16 or AMX (on TensorFlow)",
    )
    mirrored: bool = Field(
        False,
        description="train on all GPUs of this machine, each with its share of every batch (TensorFlow's "
        "MirroredStrategy)",
    )
    samples: int = Field(2, ge=0, description="validation pictures shown in TensorBoard")
    stage: Literal["all", "path", "flow", "fusion"] = Field(
        "all",
        description="FlowVSR and EDVR: what to train; path (EDVR): what a single frame passes, on photographs of "
        "data.train_hr, without alignment and fusion; flow: the flow or the alignment's offsets alone, on photographs "
        "of data.train_hr set in motion; fusion (FlowVSR): everything after the base, on clips that the base enlarges "
        "once into data.cache; all: as for other networks",
    )
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    data: DataConfig = Field(default_factory=lambda: DataConfig())
    optimizer: OptimizerConfig = Field(default_factory=lambda: OptimizerConfig())
    perceptual: PerceptualConfig = Field(default_factory=lambda: PerceptualConfig())
    steps: StepsConfig = Field(default_factory=lambda: StepsConfig())


def load(path: Path | None, settings: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration file and apply `key=value` settings over it.

    Args:
        path: a YAML file; None for the defaults.
        settings: such as "data.batch_size=8"; values are YAML.

    Returns:
        The configuration.

    Raises:
        RequestError: it cannot be read or does not fit; the message names file, line, key and the nearest right one.
    """
    from ruamel.yaml import YAML, YAMLError

    tree: dict[str, Any] = {}
    source = "defaults"
    if path is not None:
        source = str(path)
        try:
            tree = YAML().load(path.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            raise RequestError(f"{path}: no such configuration file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"{path}: cannot be read ({error})") from None
        except (YAMLError, ValueError) as error:
            # A ValueError is of a value that only looks like a date.
            mark = getattr(error, "problem_mark", None)
            where = f":{mark.line + 1}" if mark else ""
            what = getattr(error, "problem", None) or first_line(error)
            raise RequestError(f"{path}{where}: not YAML ({what})") from None
        if not isinstance(tree, dict):
            raise RequestError(f"{path}: must be a mapping of keys to values")
        _check_keys(tree, TrainConfig, source)
    for setting in settings:
        _apply(tree, setting)
    try:
        return TrainConfig.model_validate(_plain(tree))
    except ValidationError as error:
        raise RequestError(describe(error, tree, source, settings)) from None


def _check_keys(tree: Any, schema: type[BaseModel], source: str, above: str = "") -> None:
    for key, value in tree.items():
        if key not in schema.model_fields:
            # What is merged in by << has no line here.
            own = hasattr(tree, "lc") and key in (tree.lc.data or {})
            where = f"{source}:{tree.lc.key(key)[0] + 1}" if own else source
            raise RequestError(f"{where}: {_unknown(f'{above}{key}')}")
        section = _section(schema, key)
        if section is not None and isinstance(value, dict):
            _check_keys(value, section, source, f"{above}{key}.")


def _section(schema: type[BaseModel], key: str) -> type[BaseModel] | None:
    annotation = schema.model_fields[key].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _unknown(key: str) -> str:
    names = [name for name, _ in keys()]
    sections = [name for name in TrainConfig.model_fields if _section(TrainConfig, name)]
    last = key.rsplit(".", 1)[-1]
    # lr is a picture here.
    near = ["optimizer.learning_rate"] if last == "lr" else []
    # It may stand in another section.
    near = near or [name for name in names if name.rsplit(".", 1)[-1] == last]
    near = near or difflib.get_close_matches(key, [*names, *sections], n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(last, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; `isr config` lists all keys"
    return f"unknown key {key!r}{hint}"


def parse_setting(setting: str) -> tuple[str, Any]:
    """Parse what `--set` takes, such as "data.batch_size=8".

    Args:
        setting: `key=value`; the value is YAML.

    Returns:
        The key and the value.

    Raises:
        RequestError: it has another form.
    """
    from ruamel.yaml import YAML, YAMLError

    key, equals, text = setting.partition("=")
    if not (key and equals):
        raise RequestError(f"--set {setting}: must be key=value")
    try:
        return key, YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        raise RequestError(f"--set {setting}: the value is not YAML") from None


def _apply(tree: dict[str, Any], setting: str) -> None:
    key, value = parse_setting(setting)
    parts = key.split(".")
    schema: type[BaseModel] | None = TrainConfig
    node = tree
    for depth, part in enumerate(parts):
        if schema is not None and part not in schema.model_fields:
            raise RequestError(f"--set {setting}: {_unknown(key)}")
        if depth < len(parts) - 1:
            below = _section(schema, part) if schema is not None else None
            if schema is not None and below is None and part != "arguments":
                raise RequestError(f"--set {setting}: {'.'.join(parts[: depth + 1])!r} has no keys below it")
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node, schema = node[part], below
    node[parts[-1]] = value


def describe(error: ValidationError, tree: Any, source: str, settings: Sequence[str]) -> str:
    """One line: where the value was given, the key, what is wrong with it."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    given = [setting for setting in settings if setting.partition("=")[0] == key]
    line, node = 0, tree
    for part in location:
        if isinstance(node, dict) and part in node:
            line = node.lc.key(part)[0] + 1 if hasattr(node, "lc") and part in node.lc.data else line
            node = node[part]
    where = f"--set {given[-1]}" if given else f"{source}:{line}" if line else source
    what = first["msg"].lower().removeprefix("value error, ")
    if first["type"] == "model_type":
        what = "must be a mapping of keys to values"
    return f"{where}: {key}: {what}, not {first['input']!r}"


def keys(schema: type[BaseModel] = TrainConfig, above: str = "") -> Iterator[tuple[str, Any]]:
    """List every key with its dots and its field (default, description), in the order of the file."""
    for name, field in schema.model_fields.items():
        section = _section(schema, name)
        if section is None:
            yield f"{above}{name}", field
        else:
            yield from keys(section, f"{above}{name}.")


def to_yaml(config: TrainConfig, *, comments: bool = True) -> str:
    """Write the configuration as YAML, each key with its description as comment."""
    lines: list[str] = []
    _write(config, lines, "", comments)
    return "\n".join(lines) + "\n"


def _write(section: BaseModel, lines: list[str], indent: str, comments: bool) -> None:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            if comments:
                lines += ["", f"{indent}# {type(value).__doc__}"]
            lines.append(f"{indent}{name}:")
            _write(value, lines, indent + "  ", comments)
        else:
            if comments:
                lines.append(f"{indent}# {field.description}")
            lines.append(f"{indent}{name}: {_scalar(value)}")


def _scalar(value: Any) -> str:
    plain = (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z][\w./-]*", value)
        and value.lower() not in YAML_WORDS
    )
    # JSON is YAML.
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
