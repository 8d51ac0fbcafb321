"""Weights files: one .safetensors file holds all that inference needs. Nothing is ever unpickled.

The tensors are ``MCLNet``'s state dict. All else is one JSON document in the file's metadata, beside a few entries
for other programs. The same run gives the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcltool.core.config import Config
from mcltool.core.errors import UsageError
from mcltool.core.files import create, digest, parse_json, replacing
from mcltool.plugin.contract import ConditionSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mcltool.model.network import MCLNet

FORMAT = "mcltool-weights"
FORMAT_VERSION = 1
MAX_HEADER = 1 << 20
"""Characters of the header's document; ours take a few thousand."""


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says of itself.

    config: the run's, resolved. condition: what the model takes. step: optimiser steps it was trained for.
    """

    config: Config
    condition: ConditionSpec
    plugin_version: str
    step: int

    @property
    def plugin(self) -> str:
        return self.config.plugin

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels the model was trained at."""
        return self.config.data.size

    def as_dict(self) -> dict[str, Any]:
        """The stored document, as plain JSON values."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "plugin": self.plugin,
            "plugin_version": self.plugin_version,
            "size": list(self.size),
            "step": self.step,
            "condition": json.loads(self.condition.to_json()),
            "config": json.loads(self.config.to_json()),
        }


def save_weights(path: Path, tensors: Mapping[str, Tensor], header: WeightsHeader) -> None:
    """Write ``tensors`` (a state dict of MCLNet, on any device) and ``header`` to ``path``, atomically."""
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(stored, temporary)
        _set_metadata(temporary, header)


def copy_weights(source: Path, target: Path, half: bool = False) -> None:
    """Copy a weights file; one of an older mcltool gets the ``modelspec`` entries that it lacks.

    half: store its numbers as 16-bit floats, which ``load_model`` reads as 32-bit ones.
    """
    metadata, header = open_tensors(source)[0], read_header(source)
    if half:
        model, _ = load_model(source)
        save_weights(target, {name: tensor.half() for name, tensor in model.state_dict().items()}, header)
        return
    shutil.copyfile(source, target)
    if metadata.keys() != _metadata(header).keys():
        _set_metadata(target, header)


def _metadata(header: WeightsHeader) -> dict[str, str]:
    """Our document, and what other programs look for (https://github.com/Stability-AI/ModelSpec)."""
    height, width = header.size
    return {
        FORMAT: json.dumps(header.as_dict()),
        "modelspec.architecture": "mcl-net",
        "modelspec.implementation": "mcltool",
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"{header.plugin}, {header.config.preset}, {height}x{width}",
    }


def _set_metadata(path: Path, header: WeightsHeader) -> None:
    """Put ``header`` into a file of tensors. (safetensors would write the entries in random order.)"""
    with path.open("rb") as old, replacing(path) as temporary, create(temporary) as new:
        document = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        document = {"__metadata__": _metadata(header)} | {
            k: v for k, v in document.items() if k != "__metadata__"
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the format wants the tensors aligned
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new)


def read_header(path: Path) -> WeightsHeader:
    """The header of a weights file, without reading its tensors and without torch.

    Raises UsageError, naming the file, where it is missing, no safetensors file, cut off, not written by
    mcltool, or of an unknown format version.
    """
    return _parse(path, open_tensors(path)[0])


def summary(path: Path) -> dict[str, Any]:
    """What ``weights show`` prints, as plain JSON values: the header, count of parameters, bytes, sha256."""
    header, shapes = open_tensors(path)
    document = _parse(path, header).as_dict()
    parameters = sum(math.prod(shape) for shape in shapes.values())
    size = path.stat().st_size
    return {"file": str(path), **document, "parameters": parameters, "bytes": size, "sha256": digest(path)}


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[MCLNet, WeightsHeader]:
    """The model of a weights file, in eval mode on ``device``, and its header.

    Raises UsageError as ``read_header`` does, and where a tensor is missing, left over, or of another shape
    or number format than the model that the header describes.
    """
    import torch
    from safetensors.torch import load_file

    from mcltool.model.build import make_network

    header = read_header(path)
    with torch.device("meta"):  # takes no memory: a header may claim any widths, the file is what it is
        model = make_network(header.config.model, header.condition.channels, header.size)
    tensors = load_file(path)
    tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False).to(device), header


def open_tensors(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Metadata and the tensors' shapes of a .safetensors file. Raises UsageError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            return file.metadata() or {}, shapes
    except FileNotFoundError:
        raise UsageError(f"{path}: no such weights file") from None
    except SafetensorError as error:
        raise UsageError(f"{path}: cut off, or not a .safetensors file ({error})") from None
    except OSError as error:
        raise UsageError(f"{path}: expected a weights file ({error})") from None


def _parse(path: Path, metadata: Mapping[str, str]) -> WeightsHeader:
    if FORMAT not in metadata:
        raise UsageError(f"{path}: a .safetensors file, but not written by mcltool")
    try:
        if len(metadata[FORMAT]) > MAX_HEADER:
            raise ValueError("larger than any of mcltool")
        raw = parse_json(metadata[FORMAT])
        version = raw["format_version"]
        if version != FORMAT_VERSION:
            raise UsageError(f"format version {version} is unknown (this mcltool reads {FORMAT_VERSION})")
        config = Config.from_json(json.dumps(raw["config"]))
        condition = ConditionSpec.from_json(json.dumps(raw["condition"]))
        version, step = raw["plugin_version"], raw["step"]
        if type(version) is not str or type(step) is not int:
            raise TypeError("plugin_version must be text and step a number")
        return WeightsHeader(config, condition, version, step)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path}: damaged header ({type(error).__name__}: {error})") from None


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is not part of the model" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        have, need = found[name], wanted[name]
        if (have.shape, have.dtype) != (need.shape, need.dtype):
            wrong.append(f"{name} is {_form(have)} instead of {_form(need)}")
        elif not have.isfinite().all():
            raise UsageError(
                f"{path}: {name} has values that are not finite; the training that made it failed"
            )
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UsageError(f"{path}: does not fit the model its header describes: {min(wrong)}{more}")


def _form(tensor: Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape)) or 'one number'} {str(tensor.dtype).removeprefix('torch.')}"
