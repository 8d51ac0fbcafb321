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
from mcltool.core.weights import WeightsHeader, load_model
from mcltool.data.batch import to_bytes, to_unit
from mcltool.model.correspondence import STRIDE
from mcltool.model.network import MCLNet
from mcltool.plugin.contract import ConditionSpec

Format = Literal["torch-export", "onnx"]
Size = tuple[int, int]
Run = Callable[[Tensor, Tensor], Tensor]

SUFFIXES: Mapping[str, Format] = {".pt2": "torch-export", ".onnx": "onnx"}
TOLERANCE = 1
"""Levels, of 255, that an exported graph's image may differ from the model's: that of rounding."""
MOST_AT_ONCE = 1024


@dataclass(frozen=True)
class Exported:
    """What was written. condition, exemplar: shapes and formats of the inputs. most, mean: levels, of 255, that its
    image differs from the model's on random inputs."""

    form: Format
    size: Size
    condition: str
    exemplar: str
    most: int
    mean: float


class Embedded(nn.Module):
    """The model from bytes to bytes.

    condition: (B, H, W) uint8 labels, or (B, K, H, W) float32 in [0, 1]. exemplar: (B, H, W, 3) uint8 RGB.
    -> image (B, H, W, 3) uint8 RGB.
    """

    def __init__(self, net: MCLNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, condition: Tensor, exemplar: Tensor) -> Tensor:
        photo = to_unit(exemplar.permute(0, 3, 1, 2))
        image: Tensor = self.net(condition, photo).image
        return to_bytes(image).permute(0, 2, 3, 1)


def export(weights: Path, out: Path, form: Format | None = None, size: Size | None = None) -> Exported:
    """Write the model of ``weights`` to ``out``, once the written file gave the same image as the model itself.

    form: None goes by the suffix of ``out``. size: height and width in pixels of condition and exemplar; None
    takes that of training.

    Raises UsageError where the format, the size or the weights cannot be used or what ONNX needs is not installed,
    McltoolError where the images differ by more than TOLERANCE; nothing is written then.
    """
    form = form or _form_of(out)
    if form == "onnx":
        _check_onnx()
    net, header = load_model(weights)
    config = header.config.changed({"data.size": size or header.size})  # says what is wrong with a size
    model = Embedded(_for_one_size(net, config.data.size)).eval()
    inputs = _random_inputs(header.condition, config.data.size)
    batch = torch.export.Dim("batch", min=1, max=MOST_AT_ONCE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what torch's own code says to its authors
        program = torch.export.export(model, inputs, dynamic_shapes=({0: batch}, {0: batch}))
        with replacing(out) as temporary:
            run = _WRITERS[form](program, temporary, _description(header, config.data.size))
            gap = (run(*inputs).int() - model(*inputs).int()).abs()
            most, mean = int(gap.max()), float(gap.float().mean())
            if most > TOLERANCE:
                raise McltoolError(
                    f"{out}: not written: its image differs from the model's by {most} of 255 levels "
                    f"(mean {mean:.4f}; {TOLERANCE} is allowed); that is a bug in the export, please report it"
                )
    condition, exemplar = (f"({', '.join(map(str, ('B', *x.shape[1:])))}) {str(x.dtype)[6:]}" for x in inputs)
    return Exported(form, config.data.size, condition, exemplar, most, mean)


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


def _random_inputs(spec: ConditionSpec, size: Size) -> tuple[Tensor, Tensor]:
    """Two of each: of one, torch would take the batch size for a constant."""
    draw = torch.Generator().manual_seed(0)
    if spec.kind == "labels":
        condition = torch.randint(spec.channels, (2, *size), generator=draw, dtype=torch.uint8)
    else:
        condition = torch.rand(2, spec.channels, *size, generator=draw)
    return condition, torch.randint(256, (2, *size, 3), generator=draw, dtype=torch.uint8)


def _description(header: WeightsHeader, size: Size) -> str:
    """What travels with the graph: what the weights say of themselves, and the graph's size."""
    return json.dumps({**header.as_dict(), "graph_size": list(size)})


def _write_torch(program: torch.export.ExportedProgram, path: Path, description: str) -> Run:
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"mcltool.json": description})
    with path.open("rb") as file:
        run: Run = torch.export.load(file).module()
    return run


def _write_onnx(program: torch.export.ExportedProgram, path: Path, description: str) -> Run:
    import onnxruntime

    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    made = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["condition", "exemplar"],
        output_names=["image"],
        verbose=False,
    )
    assert made is not None
    made.model.metadata_props["mcltool"] = description
    made.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(condition: Tensor, exemplar: Tensor) -> Tensor:
        given = {"condition": condition.numpy(), "exemplar": exemplar.numpy()}
        return torch.from_numpy(session.run(["image"], given)[0])

    return run


_WRITERS: Mapping[Format, Callable[[torch.export.ExportedProgram, Path, str], Run]] = {
    "torch-export": _write_torch,
    "onnx": _write_onnx,
}
