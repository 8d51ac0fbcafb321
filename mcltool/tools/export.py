"""``mcltool export``: a weights file as one graph that runs without mcltool, for torch.export or ONNX.

The graph takes and gives the bytes of pictures: docs/export.md.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mcltool.core.errors import McltoolError, UsageError
from mcltool.core.files import replacing
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.core.weights import load_model
from mcltool.model.correspondence import STRIDE, attention_warp, mixture_features
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec

Format = Literal["torch-export", "onnx"]
Size = tuple[int, int]
Inputs = dict[str, Tensor]
Run = Callable[[Inputs], Tensor]

SUFFIXES: Mapping[str, Format] = {".pt2": "torch-export", ".onnx": "onnx"}
TOLERANCE = 1
"""Levels, of 255, that an exported graph's image may differ from the model's: that of rounding."""
MOST_AT_ONCE = 1024


@dataclass(frozen=True)
class Exported:
    """What was written. inputs: shape and format of each, by name; image: of the output. most, mean: levels, of 255,
    by which its image differs from the model's on random inputs."""

    form: Format
    size: Size
    inputs: dict[str, str]
    image: str
    most: int
    mean: float


class OneExemplar(nn.Module):
    """The model from bytes to bytes.

    condition: (B, H, W) uint8 labels, or (B, K, H, W) float32 in [0, 1]. exemplar: (B, H, W, 3) uint8 RGB.
    -> image (B, H, W, 3) uint8 RGB.
    """

    def __init__(self, net: MCLNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, condition: Tensor, exemplar: Tensor) -> Tensor:
        return _bytes(self.net(condition, _photos(exemplar)).image)


class SeveralExemplars(OneExemplar):
    """The same with E exemplars for each condition, which act together: exemplars (B, E, H, W, 3) uint8 RGB.

    weights: (B, E, H / 4, W / 4) float32 at least 0, of each exemplar at each position; one at least is above 0.
    """

    def forward(self, condition: Tensor, exemplars: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        net, (E, h, w) = self.net, weights.shape[1:]
        X_BEHW = net.embed_condition(condition)
        u_BND = net.match_condition(net.encode_condition(X_BEHW), X_BEHW)
        photos = _photos(exemplars.flatten(0, 1))
        v, values = net.photo_features(photos), net.values(photos)
        v_BEMD = v.reshape(-1, E, *v.shape[1:])
        q, k = mixture_features(u_BND, v_BEMD.unbind(1), weights.flatten(2), net.temperature)
        values_BNV = attention_warp(q, k, values.reshape(-1, k.shape[1], values.shape[2]), net.temperature)
        return _bytes(net.generator(net.from_values(values_BNV, (h, w)), X_BEHW))


def _photos(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1]."""
    return to_unit(pixels.permute(0, 3, 1, 2))


def _bytes(image: Tensor) -> Tensor:
    return to_bytes(image).permute(0, 2, 3, 1)


def export(
    weights: Path, out: Path, form: Format | None = None, size: Size | None = None, exemplars: int = 1
) -> Exported:
    """Write the model of ``weights`` to ``out``, once the written file gave the same image as the model itself.

    form: None goes by the suffix of ``out``. size: height and width in pixels of condition and exemplar; None
    takes that of training. exemplars: how many act together on a condition.

    Raises UsageError where the format, the size or the weights cannot be used or what ONNX needs is not installed,
    McltoolError where the images differ by more than TOLERANCE; nothing is written then.
    """
    form = form or _form_of(out)
    if form == "onnx":
        _check_onnx()
    net, header = load_model(weights)
    size = header.config.changed(
        {"data.size": size or header.size}
    ).data.size  # says what is wrong with a size
    model = (OneExemplar if exemplars == 1 else SeveralExemplars)(_for_one_size(net, size)).eval()
    inputs = _random_inputs(header.condition, size, exemplars)
    batch = torch.export.Dim("batch", min=1, max=MOST_AT_ONCE)
    description = json.dumps({**header.as_dict(), "graph_size": list(size), "graph_exemplars": exemplars})
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what torch's own code says to its authors
        shapes = tuple({0: batch} for _ in inputs)
        program = torch.export.export(model, tuple(inputs.values()), dynamic_shapes=shapes)
        with replacing(out) as temporary:
            run = _WRITERS[form](program, temporary, description)
            image = model(**inputs)
            gap = (run(inputs).int() - image.int()).abs()
            most, mean = int(gap.max()), float(gap.float().mean())
            if most > TOLERANCE:
                raise McltoolError(
                    f"{out}: not written: its image differs from the model's by {most} of 255 levels "
                    f"(mean {mean:.4f}; {TOLERANCE} is allowed); that is a bug in the export, please report it"
                )
    described = {name: _described(tensor) for name, tensor in inputs.items()}
    return Exported(form, size, described, _described(image), most, mean)


def _described(tensor: Tensor) -> str:
    return f"({', '.join(map(str, ('B', *tensor.shape[1:])))}) {str(tensor.dtype)[6:]}"


def _form_of(out: Path) -> Format:
    if out.suffix.lower() not in SUFFIXES:
        known = " or ".join(f"{suffix} ({form})" for suffix, form in SUFFIXES.items())
        raise UsageError(f"{out}: its suffix says no format; name it {known}, or choose with --format")
    return SUFFIXES[out.suffix.lower()]


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format onnx needs {', '.join(missing)}: pip install 'mcltool[export]' (torch-export needs nothing)"
        )


def _for_one_size(net: MCLNet, size: Size) -> MCLNet:
    """``net`` with the self-correlation map's layer made for ``size``, so that the graph need not resample it."""
    scm = net.correspondence.scm
    if scm is not None:
        made = scm.resampled((size[0] // STRIDE, size[1] // STRIDE)).detach()
        scm.weight = nn.Parameter(made.clone(), requires_grad=False)
    return net


def _random_inputs(spec: ConditionSpec, size: Size, exemplars: int) -> Inputs:
    """Two of each: of one, torch would take the batch size for a constant."""
    draw = torch.Generator().manual_seed(0)
    if spec.kind == "labels":
        condition = torch.randint(spec.channels, (2, *size), generator=draw, dtype=torch.uint8)
    else:
        condition = torch.rand(2, spec.channels, *size, generator=draw)
    photos = torch.randint(256, (2, exemplars, *size, 3), generator=draw, dtype=torch.uint8)
    if exemplars == 1:
        return {"condition": condition, "exemplar": photos[:, 0]}
    weights = torch.rand(2, exemplars, size[0] // STRIDE, size[1] // STRIDE, generator=draw)
    return {"condition": condition, "exemplars": photos, "weights": weights}


def _write_torch(program: torch.export.ExportedProgram, path: Path, description: str) -> Run:
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"mcltool.json": description})
    with path.open("rb") as file:
        graph = torch.export.load(file).module()
    return lambda inputs: graph(*inputs.values())


def _write_onnx(program: torch.export.ExportedProgram, path: Path, description: str) -> Run:
    import onnxruntime

    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    made = torch.onnx.export(
        program,
        dynamo=True,
        input_names=list(program.graph_signature.user_inputs),
        output_names=["image"],
        verbose=False,
    )
    assert made is not None
    made.model.metadata_props["mcltool"] = description
    made.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> Tensor:
        (image,) = session.run(["image"], {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(image)

    return run


_WRITERS: Mapping[Format, Callable[[torch.export.ExportedProgram, Path, str], Run]] = {
    "torch-export": _write_torch,
    "onnx": _write_onnx,
}
