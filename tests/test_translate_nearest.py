"""--pair nearest: each condition gets the photo that matches it best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from translating import COUNT, make_numbered, manifest, run, task_of

from mcltool.core.pixels import to_unit
from mcltool.data.batch import condition_planes
from mcltool.translate.job import plugin_of
from mcltool.translate.pairing import top_1
from mcltool.translate.reader import Preparer
from mcltool.translate.translator import Translator


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_numbered(tmp_path)
    return tmp_path


@pytest.fixture
def translator(work: Path) -> Translator:
    weights = work / "runs" / "shapes-1" / "weights.safetensors"
    return Translator(weights, plugin_of(weights), "fp32", "cpu")


@pytest.mark.parametrize("block", [1, 3, 100])
def test_the_nearest_is_the_largest_product_of_those_usable(block: int) -> None:
    random = np.random.default_rng(0)
    queries, keys = (
        random.normal(size=(10, 4)).astype(np.float32),
        random.normal(size=(7, 4)).astype(np.float32),
    )
    usable = np.array([True, True, False, True, True, True, False])
    products = queries @ keys.T
    expected = np.array([max(np.flatnonzero(usable), key=lambda e: row[e]) for row in products])
    np.testing.assert_array_equal(top_1(queries, keys, usable, block), expected)


def test_where_no_condition_can_be_read_each_fails_by_itself(work: Path) -> None:
    for path in (work / "masks").iterdir():
        path.write_text("no label map")
    result = run("--pair", "nearest")
    assert (result.exit_code, f"0 ok, 0 skipped, {COUNT} failed" in result.output) == (1, True)
    assert "not an image that can be read" in next(iter(manifest(work / "out").values()))["cause"]


def test_nearest_pairs_by_features_saves_what_it_chose_and_does_not_choose_twice(
    work: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "photos" / "05.png").write_text("no photo")
    assert run("--pair", "nearest", "--pair-out", "chosen.csv").exit_code == 0
    preparer = Preparer(translator.plugin, 32)
    keys = {}
    for path in sorted((work / "photos").iterdir()):
        planes = preparer.photo(str(path)).pixels
        if planes is not None:
            with torch.inference_mode():
                v = translator.model.photo_features(to_unit(torch.tensor(planes).permute(2, 0, 1)[None]))[0]
            keys[path.name] = torch.nn.functional.normalize(v.mean(0), dim=0)
    for name, line in manifest(work / "out").items():
        planes = preparer.condition(task_of(f"masks/{name}")).pixels
        with torch.inference_mode():
            u = translator.model.condition_features(
                condition_planes(torch.tensor(planes)[None], translator.plugin.spec)
            )
        best = max(keys, key=lambda key: float(u[0].mean(0) @ keys[key]))
        assert line["exemplar"] == best
    rows = (work / "chosen.csv").read_text().splitlines()
    assert rows[0] == "condition,exemplar"
    assert len(rows) == 1 + COUNT

    monkeypatch.setattr(Translator, "pooled_condition", None)
    assert f"0 ok, {COUNT} skipped" in run("--pair", "nearest").output
    assert f"0 ok, {COUNT} skipped" in run("--pair", "chosen.csv").output
