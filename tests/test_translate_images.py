"""mcltool.translate_images: translating from Python, one picture at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from translating import COUNT, make_numbered, run

import mcltool
from mcltool import UsageError


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_numbered(tmp_path)
    return tmp_path


def test_translate_images_yields_in_order_with_causes(work: Path) -> None:
    (work / "masks" / "03.png").write_bytes(b"")
    (work / "photos" / "05.png").write_text("no photo")
    conditions = [f"masks/{n:02d}.png" for n in range(COUNT)]
    photos = [Path(f"photos/{n:02d}.png") for n in range(COUNT)]
    found = list(mcltool.translate_images(conditions, photos, device="cpu", precision="fp32", batch_size=2))
    assert [str(one.condition) for one in found] == conditions
    assert [n for n, one in enumerate(found) if one.image is None] == [3, 5]
    assert found[3].cause.startswith("masks/03.png: not an image")
    assert found[5].cause.startswith("photos/05.png: not an image")
    (work / "masks" / "03.png").unlink()
    (work / "photos" / "05.png").unlink()
    (work / "masks" / "05.png").unlink()
    run("--batch-size", "2")
    for one in found:
        if one.image is not None:
            made = np.asarray(Image.open(work / "out" / one.condition.name), int)
            np.testing.assert_allclose(one.image, made, atol=1)  # other batches, other last bits


def test_translate_images_reads_no_more_than_it_needs(work: Path) -> None:
    def endless() -> Any:
        while True:
            yield "masks/00.png"

    images = mcltool.translate_images(endless(), "photos/00.png", device="cpu", save=("warp", "confidence"))
    first = next(images)
    assert first.image is not None
    assert {kind: picture.shape for kind, picture in first.extras.items()} == {
        "warp": (32, 32, 3),
        "confidence": (32, 32, 3),
    }


def test_translate_images_says_what_is_wrong(work: Path) -> None:
    with pytest.raises(UsageError, match="no such weights file"):
        mcltool.translate_images([], "photos/00.png", "none.safetensors")
    with pytest.raises(UsageError, match="1 exemplars for more conditions"):
        list(mcltool.translate_images(["masks/00.png"] * 2, ["photos/00.png"], device="cpu"))
