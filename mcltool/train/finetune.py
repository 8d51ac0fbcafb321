"""Fine-tuning (fit --from): starting a network from another model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mcltool.core.config import Config
from mcltool.core.errors import UsageError
from mcltool.core.weights import load_model
from mcltool.model.build import make_network
from mcltool.model.correspondence import resampled_map
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec

READS_CONDITIONS, ENCODERS = "encode_condition.", ("encode_condition.", "encode_photo.")
MAP = "correspondence.scm.weight"
LEAST = 0.1
"""Smallest share of the weights that is worth starting from."""

ClassAxes = Mapping[str, Mapping[int, int]]
"""By tensor: the dimensions along which it has something for each class, and how many numbers that is."""


def start_from(path: Path, config: Config, spec: ConditionSpec) -> tuple[dict[str, Tensor], str]:
    """A state dict for the network of ``config`` with all that fits of the weights ``path``, by name and shape, classes
    by their names; and a line on where its parts are from.

    What is new begins as in a run from scratch. Raises UsageError where the file cannot be read, is of another kind of
    condition, or has nothing that fits; with ``train.freeze`` also where it lacks a part of the encoders.
    """
    model, theirs = load_model(path)
    old_spec = theirs.condition
    if old_spec.kind != spec.kind:
        raise UsageError(
            f"--from {path}: its conditions are {old_spec.kind}, those of {config.plugin} are {spec.kind}; choose "
            "weights of the same kind, or train without --from"
        )
    torch.manual_seed(config.train.seed)  # as Trainer does
    tensors = dict(make_network(config.model, spec.channels, config.data.size).state_dict())
    given, axes, new = model.state_dict(), class_axes(config, spec.channels), []
    for name, mine in tensors.items():
        old = given.get(name)
        if old is not None and name == MAP and old.ndim == mine.ndim:
            old = resampled_map(old, (mine.shape[1], mine.shape[2]))
        # Coordinates come behind the classes, features and colours before them.
        first = name.startswith(READS_CONDITIONS)
        if old is None or not _take(mine, old, axes.get(name, {}), spec.names, old_spec.names, first):
            new.append(name)
    total = sum(tensor.numel() for tensor in tensors.values())
    share = 1 - sum(tensors[name].numel() for name in new) / total
    if share < LEAST:
        raise UsageError(
            f"--from {path}: only {share:.0%} of it fits: it has preset {theirs.config.preset}, this run "
            f"{config.preset}; leave out --preset and settings of the model"
        )
    if config.train.freeze and (missing := [name for name in new if name.startswith(ENCODERS)]):
        raise UsageError(
            f"--freeze: {path} lacks a part of these encoders ({missing[0]}); leave --preset out"
        )
    line = f"starting from {path} ({theirs.plugin}, step {theirs.step}): {share:.0%} of the weights"
    return tensors, f"{line}, {_what_is_new(spec, old_spec, new)}"


def class_axes(config: Config, classes: int) -> ClassAxes:
    """Found by comparing the shapes of two networks, one of which has a class more."""
    with torch.device("meta"):
        one, other = (make_network(config.model, k, config.data.size) for k in (classes, classes + 1))
    more = {name: tensor.shape for name, tensor in other.state_dict().items()}
    found = {
        name: {d: more[name][d] - side for d, side in enumerate(tensor.shape) if more[name][d] != side}
        for name, tensor in one.state_dict().items()
    }
    return {name: axes for name, axes in found.items() if axes}


def freeze_encoders(net: MCLNet, axes: ClassAxes) -> None:
    """Leave both encoders as they are, but for the weights that read classes, of which some may be new."""
    for name, parameter in net.named_parameters():
        if name.startswith(ENCODERS) and name not in axes:
            parameter.requires_grad_(False)


def _take(
    mine: Tensor,
    old: Tensor,
    axes: Mapping[int, int],
    names: Sequence[str],
    old_names: Sequence[str],
    first: bool,
) -> bool:
    """Fill ``mine`` with what ``old`` has for classes of the same names; False where the shapes do not fit.

    first: whether classes come first along ``axes``; else they come last.
    """
    if mine.ndim != old.ndim:
        return False
    sides = [(a - axes.get(d, 0) * len(names), b - axes.get(d, 0) * len(old_names))
             for d, (a, b) in enumerate(zip(mine.shape, old.shape, strict=True))]  # fmt: skip
    if any(a != b for a, b in sides):
        return False
    if not axes:
        mine.copy_(old)
        return True
    both = [name for name in names if name in old_names]
    here, there = (
        np.ix_(*(_places(side, len(known), axes.get(d, 0), first, [known.index(n) for n in both])
                 for d, side in enumerate(tensor.shape)))
        for tensor, known in ((mine, names), (old, old_names))
    )  # fmt: skip
    mine.numpy()[here] = old.numpy()[there]
    return True


def _places(side: int, classes: int, each: int, first: bool, chosen: Sequence[int]) -> list[int]:
    """Along a dimension, the places of the ``chosen`` classes, and then of what is the same for all classes."""
    start = 0 if first else side - classes * each
    of_classes = range(start, start + classes * each)
    of_chosen = [start + number * each + k for number in chosen for k in range(each)]
    return [*of_chosen, *(i for i in range(side) if i not in of_classes)]


def _what_is_new(spec: ConditionSpec, old_spec: ConditionSpec, new: Sequence[str]) -> str:
    what = "classes" if spec.kind == "labels" else "channels"
    added = [name for name in spec.names if name not in old_spec.names]
    text = f"{len(spec.names) - len(added)} of {len(spec.names)} {what} by name"
    if added:
        text += f"; new {what}: {', '.join(added[:8])}{', ...' if len(added) > 8 else ''}"
    if new:
        parts = Counter(name.partition(".")[0] for name in new)
        text += f"; new parts: {', '.join(f'{part} ({n} tensors)' for part, n in parts.items())}"
    return text
