"""What mcltool writes says that it is generated, by which weights and of what; and the bytes stay the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, features
from translating import files, make_condition, make_photo, make_weights, run

from mcltool.cli.main import cli

FORMATS = ["png", "jpg", *(form for form in ("webp", "avif") if features.check(form))]
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with weights, a condition in a folder and a photo with hostile names."""
    monkeypatch.chdir(tmp_path)
    make_weights(tmp_path / "w.safetensors")
    make_condition(tmp_path / "masks" / "a" / 'x&"<ü.png')
    make_photo(tmp_path / "photos" / "it's.png")
    return tmp_path


def written(*options: str) -> Path:
    result = run("--weights", "w.safetensors", *options)
    assert result.exit_code == 0, result.output
    (path,) = (path for path in Path("out").rglob("x*") if path.is_file())
    return path


def described(path: Path) -> tuple[dict[str, Any], ElementTree.Element]:
    """Our document, and the description in the XMP."""
    with Image.open(path) as image:
        image.load()
        text = image.info["mcltool"] if path.suffix == ".png" else image.getexif()[0x010E].partition(": ")[2]
        xmp = image.info["xmp"]
    root = ElementTree.fromstring(xmp)
    (description,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return json.loads(text), description


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_says_that_it_is_generated_and_of_what(form: str) -> None:
    path = written("--format", form)
    document, description = described(path)
    assert document == {
        "generated": True,
        "weights": hashlib.sha256(Path("w.safetensors").read_bytes()).hexdigest(),
        "plugin": "shapes",
        "condition": 'a/x&"<ü.png',
        "exemplar": "it's.png",
    }
    assert description.get(IPTC, "").endswith("/trainedAlgorithmicMedia")
    names = {key.rpartition("}")[2]: value for key, value in description.items()}
    assert names.items() >= {key: value for key, value in document.items() if key != "generated"}.items()


@pytest.mark.parametrize("form", FORMATS)
def test_the_bytes_are_the_same_each_time_and_the_pixels_those_without(form: str) -> None:
    first = written("--format", form)
    before, pixels = files(Path("out")), np.asarray(Image.open(first))
    run("--weights", "w.safetensors", "--format", form, "--overwrite")
    assert files(Path("out")) == before
    plain = written("--format", form, "--overwrite", "--no-provenance")
    assert np.array_equal(np.asarray(Image.open(plain)), pixels)
    with Image.open(plain) as image:
        assert not image.info.keys() & {"mcltool", "xmp", "exif"}


def test_a_single_picture_and_what_is_beside_it_say_so_too() -> None:
    condition = next(Path("masks").rglob("x*"))
    arguments = ["translate", str(condition), "photos/it's.png", "made.png", "--weights", "w.safetensors"]
    result = CliRunner().invoke(cli, [*arguments, "--precision", "fp32", "--device", "cpu", "--save", "warp"])
    assert result.exit_code == 0, result.output
    for name in ("made.png", "made.warp.png"):
        assert described(Path(name))[0]["condition"] == 'x&"<ü.png'  # no folders of this machine
