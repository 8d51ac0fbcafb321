"""mcltool export: what was written gives the model's own image without mcltool, for any batch and a size of choice."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from tiny_weights import SPEC, make_weights
from translating import make_condition, make_photo

import mcltool.tools.export as export_module
from mcltool import ConditionSpec
from mcltool.cli.main import cli
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.core.weights import load_model
from mcltool.data.batch import condition_planes
from mcltool.translate.job import plugin_of
from mcltool.translate.translator import Translator

EDGES = ConditionSpec("channels", ("edges", "lines"), ((255, 0, 0), (0, 255, 0)))
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
PAGE = Path(__file__).parents[1] / "docs" / "export.md"


def export(*words: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def image_of(
    weights: Path, spec: ConditionSpec, condition: torch.Tensor, exemplar: torch.Tensor
) -> torch.Tensor:
    """(B, H, W, 3) bytes, by the model itself."""
    net, _ = load_model(weights)
    with torch.no_grad():
        made = net(condition_planes(condition, spec), to_unit(exemplar.permute(0, 3, 1, 2))).image
    return to_bytes(made).permute(0, 2, 3, 1)


@pytest.mark.slow
def test_a_torch_program_takes_channels_of_another_size_in_any_batch(tmp_path: Path) -> None:
    weights, out = make_weights(tmp_path / "w.safetensors", spec=EDGES), tmp_path / "sub" / "model.pt2"
    result = export(weights, out, "--size", "64x32")
    assert result.exit_code == 0, result.output
    assert "condition (B, 2, 64, 32) float32, exemplar (B, 64, 32, 3) uint8" in result.stdout
    assert re.search(r"at most [01] of 255 levels, mean 0\.\d+", result.stdout)
    described = {"mcltool.json": ""}
    run = torch.export.load(out, extra_files=described).module()
    for batch in (1, 3):
        condition = torch.rand(batch, 2, 64, 32)
        exemplar = torch.randint(256, (batch, 64, 32, 3), dtype=torch.uint8)
        gap = run(condition, exemplar).int() - image_of(weights, EDGES, condition, exemplar).int()
        assert gap.abs().max() <= 1
    assert json.loads(described["mcltool.json"])["graph_size"] == [64, 32]
    assert [path.name for path in out.parent.iterdir()] == ["model.pt2"]


def run_the_documented_program(name: str) -> None:
    """The Python block of the page that loads the ONNX file ``name``, as a reader would run it."""
    (program,) = re.findall(rf"```py\n((?:(?!```).)*{re.escape(name)}.*?)```", PAGE.read_text(), re.DOTALL)
    assert program.count("\n") <= 30
    exec(compile(program, str(PAGE), "exec"), {})


def pictures(*names: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.array(Image.open(name)) for name in names]))


needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="the extra export is not installed")


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "base"])
def test_the_program_in_the_documentation_runs_an_onnx_graph(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    weights = make_weights(tmp_path / "w.safetensors", preset=preset)
    result = export(weights, "model.onnx")
    assert result.exit_code == 0, result.output
    make_condition(Path("mask.png"))
    make_photo(Path("photo.png"), size=(32, 32))
    Path("photo.png").rename("photo.jpg")  # a PNG: its pixels stay what they are
    run_the_documented_program("model.onnx")
    expected = image_of(weights, SPEC, pictures("mask.png"), pictures("photo.jpg"))
    assert (pictures("result.png").int() - expected.int()).abs().max() <= 1
    metadata = onnxruntime.InferenceSession("model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["mcltool"])["condition"]["names"] == list(SPEC.names)


@needs_onnx
@pytest.mark.slow
def test_an_onnx_graph_of_two_exemplars_gives_what_translate_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program of the page, one exemplar for each half, against the translator with the same weights."""
    monkeypatch.chdir(tmp_path)
    weights = make_weights(tmp_path / "w.safetensors")
    result = export(weights, "model-2.onnx", "--exemplars", 2)
    assert result.exit_code == 0, result.output
    assert "exemplars (B, 2, 32, 32, 3) uint8, weights (B, 2, 8, 8) float32 -> image" in result.stdout
    make_condition(Path("mask.png"))
    for seed, name in enumerate(("photo", "other")):
        make_photo(Path(f"{name}.png"), size=(32, 32), seed=seed)
        Path(f"{name}.png").rename(f"{name}.jpg")
    run_the_documented_program("model-2.onnx")
    translator = Translator(weights, plugin_of(weights), "fp32", "cpu")
    encoded = translator.encode([*pictures("photo.jpg", "other.jpg").numpy()])
    halves = np.stack([np.arange(8) < 4, np.arange(8) >= 4]).astype(np.float32)[:, None].repeat(8, 1)
    expected = translator.translate([pictures("mask.png")[0].numpy()], [(encoded, halves)])()["image"]
    alone = translator.translate([pictures("mask.png")[0].numpy()], encoded[:1])()["image"]
    made = pictures("result.png").numpy().astype(int)
    assert np.abs(made - expected).max() <= 1
    assert np.abs(made - alone).max() > 1


def test_what_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, out = make_weights(tmp_path / "w.safetensors"), tmp_path / "model.pt2"
    out.write_text("what was there")

    def writes_another_image(program: object, path: Path, description: str) -> export_module.Run:
        path.write_text("a graph")
        return lambda inputs: torch.full_like(inputs["exemplar"], 255)

    monkeypatch.setattr(export_module.torch.export, "export", lambda *words, **options: None)
    monkeypatch.setattr(export_module, "_WRITERS", {"torch-export": writes_another_image})
    result = export(weights, out)
    assert result.exit_code == 1
    assert "not written" in result.stderr
    assert "1 is allowed" in result.stderr
    assert out.read_text() == "what was there"
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors", "model.pt2"}


def test_what_cannot_be_exported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = make_weights(tmp_path / "w.safetensors")
    published = tmp_path / "latest_net_G.pth"
    published.write_bytes(b"PK\x03\x04 a pickle of another program")
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == "onnxruntime" else name)
    for words, parts in {
        (weights, tmp_path / "model.bin"): [".pt2 (torch-export)", ".onnx (onnx)", "--format"],
        (weights, tmp_path / "model.onnx"): ["onnxruntime", "pip install 'mcltool[export]'"],
        (weights, tmp_path / "model.pt2", "--size", "102"): ["102", "multiple of 4"],
        (published, tmp_path / "model.pt2"): ["latest_net_G.pth", "not a .safetensors file"],
    }.items():
        result = export(*words)
        assert result.exit_code == 2, result.output
        assert (
            len([line for line in result.stderr.strip().splitlines() if not line.startswith("exporting")])
            == 1
        )
        assert all(part in result.stderr for part in parts), result.stderr
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".pth"}
