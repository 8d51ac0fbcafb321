"""What CONTRIBUTING promises of additions: one entry is enough, and everything else reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mcltool.cli.main import cli
from mcltool.core import presets
from mcltool.core.config import resolve
from mcltool.core.errors import DataError
from mcltool.evaluate.metrics import METRICS, NUMBERS, Metric, Number, number_of
from mcltool.evaluate.scores import Scores

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"


def brightness(use: object) -> list[object]:
    return [lambda pairs: {"brightness": [pair.output.float().mean().item() for pair in pairs]}]


def test_a_metric_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is in scores.json, in the table and in the report, and compare ranks by its direction."""
    number = Number("brightness", "lower", "mean of all pixels")
    monkeypatch.setitem(
        METRICS, "brightness", Metric("brightness", "real", {"brightness": number}, each=brightness)
    )
    monkeypatch.setitem(NUMBERS, "brightness", number)
    for folder, value in (("dark", 40), ("light", 90), ("real", 60)):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            picture = np.full((32, 32, 3), value + (name == "b"), np.uint8)
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    for out in ("dark", "light"):
        given = [str(tmp_path / out), "--real", str(tmp_path / "real"), "--metrics", "brightness"]
        result = CliRunner().invoke(cli, ["evaluate", *given, "--to", str(tmp_path / f"{out}-scores")])
        assert result.exit_code == 0, result.output
        assert "mean of all pixels" in " ".join(result.output.split())
        assert "brightness\xa0↓" in (tmp_path / f"{out}-scores" / "report.html").read_text()
    scores = json.loads((tmp_path / "dark-scores" / "scores.json").read_text())["scores"]
    assert scores["brightness"]["value"] == 40.5
    result = CliRunner().invoke(
        cli, ["compare", str(tmp_path / "dark-scores"), str(tmp_path / "light-scores"), "--json"]
    )
    (difference,) = json.loads(result.output)["differences"]
    assert (difference["key"], difference["better"]) == ("brightness", "A")


def test_a_number_that_no_metric_reports_has_no_direction(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="sharpness"):
        number_of("sharpness")
    text = Scores({}).to_json().replace('"scores": {}', '"scores": {"sharpness": {"value": 1.0, "count": 1}}')
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(DataError, match="sharpness"):
        Scores.read(tmp_path)


def test_every_metric_is_documented_with_its_direction() -> None:
    rows = [line for line in (DOCS / "evaluate.md").read_text().splitlines() if line.startswith("| `")]
    documented = {
        name: row.split("|")[2].strip()
        for row in rows
        for name in METRICS
        if f"`{name}`" in row.split("|")[1]
    }
    assert documented == {name: next(iter(m.numbers.values())).better for name, m in METRICS.items()}


def test_a_preset_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "wide", {"model.feature_channels": 96})
    assert resolve("shapes", "wide").model.feature_channels == 96
    result = CliRunner().invoke(cli, ["fit", "--plugin", "shapes", "--preset", "wide", "--dry-run", "--json"])
    assert json.loads(result.output)["config"]["model"]["feature_channels"] == 96
