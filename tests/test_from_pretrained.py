"""mcltool.from_pretrained: a model that is loaded once, from wherever --weights may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_weights import make_weights
from translating import make_condition, make_photo

import mcltool
from mcltool import DataError, UsageError
from mcltool.cli.main import cli
from mcltool.core.files import digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, what publish made of it, a mask and a photo."""
    folder = tmp_path_factory.mktemp("pretrained")
    make_weights(folder / "runs" / "a" / "weights.safetensors")
    make_condition(folder / "masks" / "1.png", (48, 40), label=2)
    make_photo(folder / "photos" / "1.png")
    result = CliRunner().invoke(cli, ["publish", str(folder / "runs" / "a"), str(folder / "gardens")])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> mcltool.Model:
    return mcltool.from_pretrained(str(folder / "gardens"), precision="fp32", device="cpu")


def test_a_published_model_makes_what_translate_dir_makes_with_the_run(
    folder: Path, model: mcltool.Model
) -> None:
    """The files are the same bytes for the run, its file and the published folder; and the pixels those of Python."""
    made = {}
    for name in ("runs/a", "runs/a/weights.safetensors", "gardens"):
        out = folder / f"out-{len(made)}"
        arguments = ["translate-dir", str(folder / "masks"), str(folder / "photos"), str(out)]
        options = ["--weights", str(folder / name), "--precision", "fp32", "--device", "cpu"]
        result = CliRunner().invoke(cli, [*arguments, *options])
        assert result.exit_code == 0, result.output
        made[name] = (out / "1.png").read_bytes()
    assert len(set(made.values())) == 1
    image = model.translate(folder / "masks" / "1.png", folder / "photos" / "1.png")
    assert np.array_equal(image, np.asarray(Image.open(folder / "out-0" / "1.png")))
    assert digest(model.weights) == digest(folder / "runs" / "a" / "weights.safetensors")


@pytest.mark.parametrize(
    ("size", "shape"), [("trained", (38, 32, 3)), ("keep", (48, 40, 3)), (64, (77, 64, 3))]
)
def test_arrays_serve_as_files_do_at_any_size(
    size: Any, shape: tuple[int, ...], folder: Path, model: mcltool.Model
) -> None:
    condition, exemplar = folder / "masks" / "1.png", folder / "photos" / "1.png"
    of_files = model.translate(condition, exemplar, size=size)
    of_arrays = model.translate(
        np.asarray(Image.open(condition)), np.asarray(Image.open(exemplar)), size=size
    )
    assert of_files.shape == shape
    assert of_files.dtype == np.uint8
    assert np.array_equal(of_files, of_arrays)


@pytest.mark.parametrize(
    ("condition", "exemplar", "cause"),
    [
        (np.zeros((9, 9, 3), np.uint8), None, r"condition: expected \(H, W\) uint8, found \(9, 9, 3\) uint8"),
        (np.full((9, 9), 99, np.uint8), None, "condition: label 99; there are 6 classes"),
        (None, np.zeros((9, 9, 3)), r"exemplar: expected \(H, W, 3\) uint8, found \(9, 9, 3\) float64"),
        ("none.png", None, "none.png"),
        (None, "none.png", "none.png"),
    ],
)
def test_what_is_no_condition_or_photo_is_said(
    condition: Any, exemplar: Any, cause: str, folder: Path, model: mcltool.Model
) -> None:
    condition = folder / "masks" / "1.png" if condition is None else condition
    exemplar = folder / "photos" / "1.png" if exemplar is None else exemplar
    with pytest.raises(DataError, match=cause):
        model.translate(condition, exemplar)


def test_weights_of_a_plugin_that_is_not_installed_or_that_are_not_there_are_refused(tmp_path: Path) -> None:
    make_weights(tmp_path / "w.safetensors", plugin="gone")
    with pytest.raises(UsageError, match=r"needs the plugin it was trained with: .*gone"):
        mcltool.from_pretrained(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="meadows: no "):
        mcltool.from_pretrained("meadows")
