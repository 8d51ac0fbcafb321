"""The resolved configuration of a run: frozen dataclasses, presets, and the order in which settings win.

Precedence: command line > --config file > plugin defaults > preset. Settings are addressed as "section.key".
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from mcltool.core.errors import UsageError
from mcltool.core.files import parse_json, read_limited
from mcltool.core.presets import PRESETS, Settings

MOST_CHANNELS, MOST_PIXELS = 16_384, 16_384
"""Limits far above use: a weights file or a config from elsewhere may say anything."""
MOST_BYTES = 1 << 20
"""Of a file of settings."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks. Widths are channels; index i of a list is resolution 1 / 2**i."""

    network: Literal["lean", "published"] = "lean"
    """Which network the sizes are of: "lean" is ours (docs/method.md, section 8), "published" CoCosNet's with the
    self-correlation map (section 7), which has no use for condition_embedding, encoder_stem, position, spade_kernel
    and spade_shared."""
    values: Literal["patches", "averages"] = "patches"
    """What of each 4 x 4 patch of the exemplar is warped: all its pixels, or their mean."""
    encoder_kernel: Literal[3, 4] = 3
    """Kernel of the published encoders' two convolutions that halve the size."""
    mix_condition: bool = False
    """Whether the tail of the published encoders reads the condition's planes beside its features."""
    condition_embedding: int = 0
    """E: learned numbers a class that encoder, generator and discriminator read in place of K one-hot planes; 0
    reads the planes as they are. Layers at full resolution then have E inputs, not K."""
    encoder_stem: int = 1
    """Pixels a side that the encoders' first layer takes at once: 1, 2 or 4. The widths then begin at that part of
    the size, and finer resolutions cost nothing."""
    encoder_widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    """Channels of both feature encoders, from 1 / encoder_stem of the size down, at least to 1/4 where the
    features are; of the published network, those of its 4 or 5 convolutions, of which the second and fourth halve."""
    feature_channels: int = 256
    """C: channels of the features at stride 4."""
    scm_channels: int = 256
    """Numbers a row of the self-correlation map is taken to; 0 leaves the map out."""
    temperature: float = 0.01
    """tau of the correspondence's softmax."""
    position: bool = False
    """Whether both encoders see each pixel's coordinates."""
    generator_widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024)
    """Channels of the generator, from full resolution down to where it starts."""
    spade_hidden: int = 128
    """Hidden channels of the layers that turn (warped exemplar, condition) into scale and shift."""
    spade_kernel: int = 3
    """Kernel of the convolution that makes scale and shift of them: 3 as published, 1 is lean."""
    spade_shared: bool = False
    """Whether the two modulations of a block read one hidden layer; as published each has its own."""
    discriminator_widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each discriminator's layers, from half the size down."""
    discriminator_scales: int = 2
    """Discriminators, each at half the size of the one before."""

    def __post_init__(self) -> None:
        _check(self.encoder_stem in (1, 2, 4), "model.encoder_stem", "must be 1, 2 or 4")
        taken = self.encoder_stem.bit_length() - 1  # halvings in the stem
        ranges = {
            "encoder_widths": (3 - taken, 6 - taken),
            "generator_widths": (3, 6),
            "discriminator_widths": (1, 6),
        }
        for name, (least, most) in ranges.items():
            widths = getattr(self, name)
            _check(len(widths) >= least, f"model.{name}", f"needs at least {least} widths")
            _check(len(widths) <= most, f"model.{name}", f"at most {most} (sizes divide by 32)")
            _check(min(widths) >= 1, f"model.{name}", "must be at least 1 each")
            _check(max(widths) <= MOST_CHANNELS, f"model.{name}", f"must be at most {MOST_CHANNELS} each")
        for name in ("feature_channels", "spade_hidden", "discriminator_scales"):
            _check(getattr(self, name) >= 1, f"model.{name}", "must be at least 1")
        for name, most in (
            ("feature_channels", MOST_CHANNELS), ("spade_hidden", MOST_CHANNELS), ("scm_channels", MOST_CHANNELS),
            ("spade_kernel", 31), ("discriminator_scales", 8),
        ):  # fmt: skip
            _check(getattr(self, name) <= most, f"model.{name}", f"must be at most {most}")
        _check(self.temperature > 0, "model.temperature", "must be above 0")
        for name in ("scm_channels", "condition_embedding"):
            _check(getattr(self, name) >= 0, f"model.{name}", "must not be negative")
        _check(self.spade_kernel >= 1 and self.spade_kernel % 2 == 1, "model.spade_kernel", "must be odd")
        self._check_network()

    def _check_network(self) -> None:
        """Settings that this network does not read must not look as if it did."""
        other = "published" if self.network == "lean" else "lean"
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        for name in _OF_ONE_NETWORK[other]:
            unused = f"is for model.network = {other!r}, this is {self.network!r}"
            _check(getattr(self, name) == defaults[name], f"model.{name}", unused)
        if self.network == "published":
            fits = len(self.encoder_widths) in (4, 5)
            _check(fits, "model.encoder_widths", "the published encoders have 4 or 5 convolutions")


_OF_ONE_NETWORK = {
    "lean": ("condition_embedding", "encoder_stem", "position", "spade_kernel", "spade_shared"),
    "published": ("encoder_kernel", "mix_condition"),
}


@dataclass(frozen=True)
class LossConfig:
    """Weight of each term (0 leaves it out) and the terms' own settings. See docs/method.md."""

    mcl: float = 0.01
    """L_mcl, the marginal contrastive loss between condition and photo features."""
    mcl_margin: float = 0.25
    """m: additive angular margin in radians."""
    mcl_scale: float = 20.0
    """s: 1 / temperature of the contrastive softmax."""
    mcl_positions: int = 0
    """Positions sampled for L_mcl; 0 takes all N."""
    mcl_symmetric: bool = True
    """Contrast in both directions."""
    mcl_detach_photo: bool = False
    """Whether the photo's features get no gradient from L_mcl."""
    cons: float = 10.0
    """L_cons, features of condition and photo alike."""
    cyc: float = 0.0
    """L_cyc, the exemplar warped there and back."""
    pse: float = 1.0
    """L_pse, the photo warped from an augmented copy of itself."""
    warp: float = 10.0
    """L1 of the warped exemplar to the photo, where the exemplar is a right answer."""
    mask: float = 0.0
    """Cross-entropy of the exemplar's warped labels (label conditions)."""
    rec: float = 0.0
    """L1 of the output to the photo, where the exemplar is a right answer."""
    tone: float = 0.0
    """L1 of the output to the warped exemplar in means of 8 x 8 pixels, where the exemplar is not a right answer."""
    detach_warp: bool = False
    """Whether what is said of the output trains the generator alone, and not the correspondence through the warp."""
    gan: float = 10.0
    """L_adv, the hinge loss by the discriminators."""
    augment: bool = False
    """Differentiable augmentation of what the discriminator sees, real and generated alike: for few photos."""
    fm: float = 10.0
    """Feature matching over the discriminator's layers."""
    perc: float = 0.001
    """Perceptual loss to the photo."""
    perc_layer: Literal["relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2"] = "relu4_2"
    """VGG-19's layer that the perceptual loss compares."""
    feat: float = 10.0
    """L1 to the photo over five VGG layers, where the exemplar is a right answer."""
    ctx: float = 10.0
    """Contextual loss to the exemplar."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float):
                _check(value >= 0, f"loss.{item.name}", "must not be negative")
        _check(self.mcl_margin < 1.5, "loss.mcl_margin", "must be below 1.5 rad")
        _check(self.mcl_scale > 0, "loss.mcl_scale", "must be above 0")
        _check(self.mcl_positions >= 0, "loss.mcl_positions", "must not be negative")


@dataclass(frozen=True)
class DataConfig:
    """What is fed to the networks."""

    size: tuple[int, int] = (256, 256)
    """Height and width in pixels, each a multiple of 4."""
    canvas: tuple[int, int] | None = None
    """Height and width in pixels of the pictures that poses were found in, where their files do not say it."""
    labels: str = ""
    """How label files are numbered, where it is not the data set's own way: a name that its plugin knows."""
    exif: bool | None = None
    """Whether photos are turned as their EXIF orientation says; None: they are, and fit says how many."""
    load_scale: float = 286 / 256
    """Photos are resized to this many times the size before the crop."""
    flip: bool = False
    """Mirror condition and photo together, half of the time."""
    colour_jitter: float = 0.0
    """Brightness, contrast, saturation and hue of each sample's photos are changed by up to this share, target and
    exemplar alike: for few photos, such as 0.2."""
    exemplar_self: float = 0.3
    """Share of samples that take themselves (augmented) as exemplar, where others are to be had."""
    exemplar_last: float | None = None
    """Share of samples that take the last exemplar of their list, and the others, but for exemplar_self, the first;
    None: any of the list, each as often."""
    exemplar_affine: bool = True
    """Whether a photo that is its own exemplar is turned, scaled and sheared, and not only cropped and mirrored."""
    workers: int = 2
    """Loader processes; 0 loads in the trainer's own."""

    def __post_init__(self) -> None:
        for side in self.size:
            _check(side >= 32, "data.size", f"{side} is less than 32 pixels a side")
            near = f"{side // 4 * 4} or {side // 4 * 4 + 4}"
            _check(side % 4 == 0, "data.size", f"{side} is not a multiple of 4, such as {near}")
            _check(side <= MOST_PIXELS, "data.size", f"{side} is more than {MOST_PIXELS} pixels a side")
        _check(min(self.canvas or (1,)) >= 1, "data.canvas", "must be at least 1 pixel a side")
        _check(self.load_scale >= 1, "data.load_scale", "must be at least 1")
        _check(0 <= self.colour_jitter <= 1, "data.colour_jitter", "must be between 0 and 1")
        _check(0 <= self.exemplar_self <= 1, "data.exemplar_self", "must be between 0 and 1")
        left = 1 - self.exemplar_self + 1e-9
        fits = 0 <= (self.exemplar_last or 0) <= left
        _check(
            fits, "data.exemplar_last", f"must be between 0 and {left:.3g}, what data.exemplar_self leaves"
        )
        _check(self.workers >= 0, "data.workers", "must not be negative")


@dataclass(frozen=True)
class TrainConfig:
    """How the networks are trained."""

    max_steps: int | None = None
    """Optimiser steps; None: as many as the epochs below make."""
    epochs: int = 100
    """Passes over the data when max_steps is not given; the second half decays the learning rate to 0."""
    batch_size: int = 8
    """Samples a step, over all processes."""
    accumulate: int = 1
    """Parts a step's batch is computed in, one after the other: less memory, the same gradients."""
    recompute: bool = False
    """Activation checkpointing: blocks are computed again in the backward pass instead of kept. Less memory,
    up to a sixth more time (docs/benchmarks.md)."""
    compile: bool = False
    """torch.compile: minutes at the start, faster steps."""
    lr: float = 1e-4
    """Learning rate of encoders, correspondence and generator."""
    lr_discriminator: float = 4e-4
    """Learning rate of the discriminators."""
    beta1: float = 0.0
    """Adam's decay of the gradients' mean."""
    beta2: float = 0.9
    """Adam's decay of their squares' mean."""
    eps: float = 1e-8
    """Adam's epsilon for encoders, correspondence and generator; the discriminator's is 1e-8."""
    generator_start: float = 0.0
    """Share of the steps that train the correspondence alone, before the generator joins."""
    gan_start: float = 0.0
    """Share of the steps before the discriminator joins; not before the generator does."""
    ema: float = 0.999
    """Decay of the averaged weights that are saved; 0 saves the weights as they are."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the networks' products; auto: bf16 or fp16 where it is faster."""
    perceptual: Literal["auto", "vgg", "caffe", "random", "none"] = "auto"
    """Network of the perceptual and contextual losses; auto: none for presets tiny and small, else vgg."""
    log_every: int = 10
    """Steps between two rows of metrics.jsonl."""
    sample_every: int = 200
    """Steps between two pictures of samples."""
    checkpoint_every: int = 500
    """Steps between checkpoints; each one is validated."""
    patience: int = 0
    """Checkpoints without a better val_score after which the run ends with the best one's weights; 0: never."""
    keep_checkpoints: int = 3
    """The newest checkpoints that are kept, beside the best."""
    validation_samples: int = 64
    """Held-out samples that checkpoints are scored on; 0 leaves that out."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Where rows and sample grids are shown too; each needs the extra of its name, as mcltool[wandb]."""
    seed: int = 0
    """Seed of everything random."""
    start_from: str = ""
    """Weights to begin with (--from): a file, a run or a name. What fits by name and shape is taken, classes by their
    names."""
    freeze: bool = False
    """Whether the encoders keep the weights that they begin with (needs train.start_from)."""

    def __post_init__(self) -> None:
        for name in (
            "batch_size", "accumulate", "epochs", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"
        ):  # fmt: skip
            _check(getattr(self, name) >= 1, f"train.{name}", "must be at least 1")
        fits = self.batch_size % self.accumulate == 0
        _check(
            fits,
            "train.batch_size",
            f"{self.batch_size} does not divide into {self.accumulate} parts (train.accumulate)",
        )
        _check(
            bool(self.start_from) or not self.freeze, "train.freeze", "needs train.start_from (fit --from)"
        )
        _check(self.patience >= 0, "train.patience", "must not be negative")
        _check(self.validation_samples >= 0, "train.validation_samples", "must not be negative")
        _check(self.seed >= 0, "train.seed", "must not be negative")
        _check(self.max_steps is None or self.max_steps >= 1, "train.max_steps", "must be at least 1")
        for name in ("ema", "beta1", "beta2"):
            _check(0 <= getattr(self, name) < 1, f"train.{name}", "must be at least 0 and below 1")
        for name in ("lr", "lr_discriminator", "eps"):
            _check(getattr(self, name) > 0, f"train.{name}", "must be above 0")
        for name in ("generator_start", "gan_start"):
            _check(0 <= getattr(self, name) <= 1, f"train.{name}", "must be between 0 and 1")


@dataclass(frozen=True)
class Config:
    """Everything a run depends on besides the data themselves."""

    plugin: str
    preset: str = "paper"
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        least = 2 ** len(self.model.generator_widths)  # its convolutions mirror what is outside: no side of 1
        fits = self.model.network == "lean" or min(self.data.size) >= least
        _check(fits, "data.size", f"must be at least {least} for the published generator")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    def settings(self) -> dict[str, Any]:
        """Every setting by its address."""
        return _addressed({name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS})

    def changed(self, settings: Settings) -> Config:
        """A copy with other ``settings``. Raises UsageError like ``resolve``."""
        return _build(self.plugin, self.preset, self.settings() | dict(settings))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Raises UsageError for unknown or wrong keys, ValueError for text unlike that of to_json."""
        raw = parse_json(text)
        if not isinstance(raw, dict) or not {"plugin", "preset"} <= raw.keys():
            raise ValueError("the configuration is not a JSON object with plugin and preset")
        plugin, preset = raw.pop("plugin"), raw.pop("preset")
        if not (isinstance(plugin, str) and isinstance(preset, str)):
            raise ValueError("plugin and preset must be text")
        return _build(plugin, preset, _addressed(raw))


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "loss": LossConfig,
    "data": DataConfig,
    "train": TrainConfig,
}


def resolve(plugin: str, preset: str, *layers: Settings) -> Config:
    """Build the configuration: the preset, then each layer over the ones before it.

    Raises UsageError for an unknown preset or setting, a value of the wrong type, or values that do not fit.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}{_nearest(preset, PRESETS)}; there are {', '.join(PRESETS)}")
    merged: dict[str, Any] = dict(PRESETS[preset])
    for layer in layers:
        merged.update(layer)
    return _build(plugin, preset, merged)


CONFIGS = Path(__file__).parent / "configs"
"""Configurations that come with mcltool, by name."""


def read_toml(path: Path) -> dict[str, Any]:
    """Settings from a TOML file with the sections model, loss, data and train; preset and plugin may stand on top.

    path: a file, or the name of one of CONFIGS. Raises UsageError where it is neither or no such document.
    """
    if not path.exists() and path.parent == Path():
        known = sorted(file.stem for file in CONFIGS.glob("*.toml"))
        if path.name not in known:
            raise UsageError(f"--config {path}: no such file, and not one of {', '.join(known)}")
        path = CONFIGS / f"{path.name}.toml"
    try:
        raw = tomllib.loads(read_limited(path, MOST_BYTES).decode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _addressed(raw)


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse "section.key=value" (a TOML value; bare words are strings)."""
    address, found, value = text.partition("=")
    if not found or "." not in address:
        raise UsageError(f"--set {text}: expected section.key=value, e.g. loss.mcl=0.05")
    try:
        return address.strip(), tomllib.loads(f"v = {value}")["v"]
    except (ValueError, RecursionError):
        return address.strip(), value.strip()


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Parse "256" or "256x192" (height x width). option: what the error names."""
    height, _, width = text.lower().partition("x")
    try:
        size = int(height), int(width or height)
        if min(size) < 1:
            raise ValueError
        return size
    except ValueError:
        raise UsageError(f"{option} {text}: expected S or HxW in pixels, e.g. 256 or 256x192") from None


def _addressed(document: Mapping[str, Any]) -> dict[str, Any]:
    """{"loss": {"mcl": 1}, "preset": "tiny"} -> {"loss.mcl": 1, "preset": "tiny"}."""
    settings: dict[str, Any] = {}
    for section, keys in document.items():
        if isinstance(keys, dict):
            settings.update({f"{section}.{key}": value for key, value in keys.items()})
        else:
            settings[section] = keys
    return settings


def _build(plugin: str, preset: str, settings: Settings) -> Config:
    settings = dict(settings)
    if settings.pop("train.tensorboard", False):  # as it was called before train.loggers
        settings["train.loggers"] = [*settings.get("train.loggers", ()), "tensorboard"]
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    known = [f"{name}.{item.name}" for name, kind in SECTIONS.items() for item in dataclasses.fields(kind)]
    for address, value in settings.items():
        if address not in known:
            raise UsageError(f"no setting {address!r}{_nearest(address, known)}")
        section, key = address.split(".")
        wanted = typing.get_type_hints(SECTIONS[section])[key]
        values[section][key] = _convert(address, value, wanted)
    parts = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    return Config(plugin, preset, **parts)


def _convert(address: str, value: Any, wanted: Any) -> Any:
    """Check ``value`` against the field's type; lists become tuples, whole numbers floats."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType:
        return None if value is None else _convert(address, value, arguments[0])
    if origin is Literal:
        _check(value in arguments, address, f"must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        _check(isinstance(value, list | tuple), address, f"must be a list, not {value!r}")
        fits = arguments[-1] is ... or len(value) == len(arguments)
        _check(fits, address, f"needs {len(arguments)} values")
        return tuple(_convert(address, item, arguments[0]) for item in value)
    if wanted is float and type(value) is int:
        _check(abs(value) < 1e300, address, "is too large")
        return float(value)
    _check(type(value) is wanted, address, f"must be of type {wanted.__name__}, not {value!r}")
    _check(wanted is not float or math.isfinite(value), address, f"must be finite, not {value}")
    return value


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _check(holds: bool, address: str, message: str) -> None:
    if not holds:
        raise UsageError(f"{address}: {message}")
