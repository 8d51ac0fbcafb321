"""The settings of a run, a section each: what each setting is, its default and its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mcltool.core.ranges import (
    MOST_CHANNELS,
    MOST_PIXELS,
    Count,
    Decay,
    Positive,
    Range,
    Share,
    Weight,
    Whole,
    Width,
    check,
    check_ranges,
)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks. Widths are channels; index i of a list is resolution 1 / 2**i."""

    network: Literal["lean", "published"] = "lean"
    """Which network the sizes are of: "lean" is ours (docs/method.md, section 8), "published" CoCosNet's with the
    self-correlation map (section 7), which has no use for condition_embedding, encoder_stem, position, spade_kernel,
    spade_shared, residual, generator_padding and place."""
    values: Literal["patches", "averages"] = "patches"
    """What of each 4 x 4 patch of the exemplar is warped: all its pixels, or their mean."""
    encoder_kernel: Literal[3, 4] = 3
    """Kernel of the published encoders' two convolutions that halve the size."""
    mix_condition: bool = False
    """Whether the tail of the published encoders reads the condition's planes beside its features."""
    condition_embedding: Whole = 0
    """E: learned numbers a class that encoder, generator and discriminator read in place of K one-hot planes; 0
    reads the planes as they are. Layers at full resolution then have E inputs, not K."""
    encoder_stem: Literal[1, 2, 4] = 1
    """Pixels a side that the encoders' first layer takes at once: 1, 2 or 4. The widths then begin at that part of
    the size, and finer resolutions cost nothing."""
    encoder_widths: tuple[Width, ...] = (64, 128, 256, 512, 512)
    """Channels of both feature encoders, from 1 / encoder_stem of the size down, at least to 1/4 where the
    features are; of the published network, those of its 4 or 5 convolutions, of which the second and fourth halve."""
    feature_channels: Width = 256
    """C: channels of the features at stride 4."""
    scm_channels: Annotated[int, Range(0, MOST_CHANNELS)] = 256
    """Numbers a row of the self-correlation map is taken to; 0 leaves the map out."""
    temperature: Positive = 0.01
    """tau of the correspondence's softmax."""
    place: Annotated[float, Range(0, below=1)] = 0.0
    """w: share of a match that goes by how near the two positions lie in their pictures, so that within a class the
    exemplar's nearby parts are taken; 0: features alone decide, as published."""
    position: bool = False
    """Whether both encoders see each pixel's coordinates."""
    generator_widths: tuple[Width, ...] = (64, 128, 256, 512, 1024, 1024)
    """Channels of the generator, from full resolution down to where it starts."""
    spade_hidden: Width = 128
    """Hidden channels of the layers that turn (warped exemplar, condition) into scale and shift."""
    spade_kernel: Annotated[int, Range(1, 31)] = 3
    """Kernel of the convolution that makes scale and shift of them: 3 as published, 1 is lean."""
    spade_shared: bool = False
    """Whether the two modulations of a block read one hidden layer; as published each has its own."""
    residual: bool = False
    """Whether the generator begins with the colours of the warped exemplar's cells and adds to them."""
    generator_padding: Literal["zeros", "replicate"] = "zeros"
    """What the generator's convolutions see beyond the picture: zeros, or the border repeated. Zeros tell it where the
    border is, and it draws a frame there that is the same in every picture."""
    discriminator_widths: tuple[Width, ...] = (64, 128, 256, 512)
    """Channels of each discriminator's layers, from half the size down."""
    discriminator_scales: Annotated[int, Range(1, 8)] = 2
    """Discriminators, each at half the size of the one before."""

    def __post_init__(self) -> None:
        check_ranges("model", self)
        taken = self.encoder_stem.bit_length() - 1  # halvings in the stem
        _check_count("encoder_widths", self.encoder_widths, 3 - taken, 6 - taken)
        _check_count("generator_widths", self.generator_widths, 3, 6)
        _check_count("discriminator_widths", self.discriminator_widths, 1, 6)
        check(self.spade_kernel % 2 == 1, "model.spade_kernel", "must be odd")
        other = "published" if self.network == "lean" else "lean"
        for name in _OF_ONE_NETWORK[other]:  # what this network does not read must not look as if it did
            unused = f"is for model.network = {other!r}, this is {self.network!r}"
            check(getattr(self, name) == getattr(ModelConfig, name), f"model.{name}", unused)
        if self.network == "published":
            fits = len(self.encoder_widths) in (4, 5)
            check(fits, "model.encoder_widths", "the published encoders have 4 or 5 convolutions")


_OF_ONE_NETWORK = {
    "lean": (
        "condition_embedding",
        "encoder_stem",
        "position",
        "spade_kernel",
        "spade_shared",
        "residual",
        "generator_padding",
        "place",
    ),
    "published": ("encoder_kernel", "mix_condition"),
}


@dataclass(frozen=True)
class LossConfig:
    """Weight of each term (0 leaves it out) and the terms' own settings. See docs/method.md."""

    mcl: Weight = 0.01
    """L_mcl, the marginal contrastive loss between condition and photo features."""
    mcl_margin: Annotated[float, Range(0, below=1.5)] = 0.25
    """m: additive angular margin in radians."""
    mcl_scale: Positive = 20.0
    """s: 1 / temperature of the contrastive softmax."""
    mcl_positions: Whole = 0
    """Positions sampled for L_mcl; 0 takes all N."""
    mcl_symmetric: bool = True
    """Contrast in both directions."""
    mcl_detach_photo: bool = False
    """Whether the photo's features get no gradient from L_mcl."""
    cons: Weight = 10.0
    """L_cons, features of condition and photo alike."""
    cyc: Weight = 0.0
    """L_cyc, the exemplar warped there and back."""
    pse: Weight = 1.0
    """L_pse, the photo warped from an augmented copy of itself."""
    warp: Weight = 10.0
    """L1 of the warped exemplar to the photo, where the exemplar is a right answer."""
    mask: Weight = 0.0
    """Cross-entropy of the exemplar's warped labels (label conditions)."""
    mask_balance: Share = 0.0
    """How much small classes count in it: 0 weighs classes by their area, as published; 1 weighs all alike."""
    rec: Weight = 0.0
    """L1 of the output to the photo, where the exemplar is a right answer."""
    tone: Weight = 0.0
    """L1 of the output to the warped exemplar in means of 8 x 8 pixels, where the exemplar is not a right answer."""
    detach_warp: bool = False
    """Whether what is said of the output trains the generator alone, and not the correspondence through the warp."""
    gan: Weight = 10.0
    """L_adv, the hinge loss by the discriminators."""
    augment: bool = False
    """Differentiable augmentation of what the discriminator sees, real and generated alike: for few photos."""
    fm: Weight = 10.0
    """Feature matching over the discriminator's layers."""
    perc: Weight = 0.001
    """Perceptual loss to the photo."""
    perc_layer: Literal["relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2"] = "relu4_2"
    """VGG-19's layer that the perceptual loss compares."""
    feat: Weight = 10.0
    """L1 to the photo over five VGG layers, where the exemplar is a right answer."""
    ctx: Weight = 10.0
    """Contextual loss to the exemplar."""

    def __post_init__(self) -> None:
        check_ranges("loss", self)


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
    load_scale: Annotated[float, Range(1)] = 286 / 256
    """Photos are resized to this many times the size before the crop."""
    flip: bool = False
    """Mirror condition and photo together, half of the time."""
    colour_jitter: Share = 0.0
    """Brightness, contrast, saturation and hue of each sample's photos are changed by up to this share, target and
    exemplar alike: for few photos, such as 0.2."""
    exemplar_self: Share = 0.3
    """Share of samples that take themselves (augmented) as exemplar, where others are to be had."""
    exemplar_last: float | None = None
    """Share of samples that take the last exemplar of their list, and the others, but for exemplar_self, the first;
    None: any of the list, each as often."""
    exemplar_affine: bool = True
    """Whether a photo that is its own exemplar is turned, scaled and sheared, and not only cropped and mirrored."""
    workers: Whole = 2
    """Loader processes; 0 loads in the trainer's own."""

    def __post_init__(self) -> None:
        check_ranges("data", self)
        for side in self.size:
            check(side >= 32, "data.size", f"{side} is less than 32 pixels a side")
            near = f"{side // 4 * 4} or {side // 4 * 4 + 4}"
            check(side % 4 == 0, "data.size", f"{side} is not a multiple of 4, such as {near}")
            check(side <= MOST_PIXELS, "data.size", f"{side} is more than {MOST_PIXELS} pixels a side")
        check(min(self.canvas or (1,)) >= 1, "data.canvas", "must be at least 1 pixel a side")
        left = 1 - self.exemplar_self + 1e-9
        fits = 0 <= (self.exemplar_last or 0) <= left
        check(fits, "data.exemplar_last", f"must be between 0 and {left:.3g}, what data.exemplar_self leaves")


@dataclass(frozen=True)
class TrainConfig:
    """How the networks are trained."""

    max_steps: Count | None = None
    """Optimiser steps; None: as many as the epochs below make."""
    epochs: Count = 100
    """Passes over the data when max_steps is not given; the second half decays the learning rate to 0."""
    batch_size: Count = 8
    """Samples a step, over all processes."""
    accumulate: Count = 1
    """Parts a step's batch is computed in, one after the other: less memory, the same gradients."""
    recompute: bool = False
    """Activation checkpointing: blocks are computed again in the backward pass instead of kept. Less memory,
    up to a sixth more time (docs/benchmarks.md)."""
    compile: bool = False
    """torch.compile: minutes at the start, faster steps."""
    lr: Positive = 1e-4
    """Learning rate of encoders, correspondence and generator."""
    lr_discriminator: Positive = 4e-4
    """Learning rate of the discriminators."""
    beta1: Decay = 0.0
    """Adam's decay of the gradients' mean."""
    beta2: Decay = 0.9
    """Adam's decay of their squares' mean."""
    eps: Positive = 1e-8
    """Adam's epsilon for encoders, correspondence and generator; the discriminator's is 1e-8."""
    clip_gradient: Weight = 0.0
    """Norm that the gradients of each optimiser are scaled down to where theirs is larger; 0: they are left alone."""
    generator_start: Share = 0.0
    """Share of the steps that train the correspondence alone, before the generator joins."""
    gan_start: Share = 0.0
    """Share of the steps before the discriminator joins; not before the generator does."""
    ema: Decay = 0.999
    """Decay of the averaged weights that are saved; 0 saves the weights as they are."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the networks' products; auto: bf16 or fp16 where it is faster."""
    perceptual: Literal["auto", "vgg", "caffe", "random", "none"] = "auto"
    """Network of the perceptual and contextual losses; auto: none for presets tiny and small, else vgg."""
    log_every: Count = 10
    """Steps between two rows of metrics.jsonl."""
    sample_every: Count = 200
    """Steps between two pictures of samples."""
    checkpoint_every: Count = 500
    """Steps between checkpoints; each one is validated."""
    patience: Whole = 0
    """Checkpoints without a better val_score after which the run ends with the best one's weights; 0: never."""
    keep_checkpoints: Count = 3
    """The newest checkpoints that are kept, beside the best."""
    validation_samples: Whole = 64
    """Held-out samples that checkpoints are scored on; 0 leaves that out."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Where rows and sample grids are shown too; each needs the extra of its name, as mcltool[wandb]."""
    seed: Whole = 0
    """Seed of everything random."""
    start_from: str = ""
    """Weights to begin with (--from): a file, a run or a name. What fits by name and shape is taken, classes by their
    names."""
    freeze: bool = False
    """Whether the encoders keep the weights that they begin with (needs train.start_from)."""

    def __post_init__(self) -> None:
        check_ranges("train", self)
        parts = f"{self.batch_size} does not divide into {self.accumulate} parts (train.accumulate)"
        check(self.batch_size % self.accumulate == 0, "train.batch_size", parts)
        check(bool(self.start_from) or not self.freeze, "train.freeze", "needs train.start_from (fit --from)")


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "loss": LossConfig,
    "data": DataConfig,
    "train": TrainConfig,
}


def _check_count(name: str, widths: tuple[int, ...], least: int, most: int) -> None:
    check(len(widths) >= least, f"model.{name}", f"needs at least {least} widths")
    check(len(widths) <= most, f"model.{name}", f"at most {most} (sizes divide by 32)")
