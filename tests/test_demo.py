"""``mcltool demo`` from the command line to its files, with hardly any training."""

from __future__ import annotations

import json
import math
import shutil
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mcltool.cli.main import cli
from mcltool.core.files import digest
from mcltool.core.index import shipped_folder
from mcltool.core.lookup import shipped_weights
from mcltool.core.weights import read_header
from mcltool.evaluate.pairs import held_out_pairs
from mcltool.evaluate.truth import psnr
from mcltool.plugin import registry as plugins
from mcltool.tools import demo
from mcltool.tools.demo import PAIRS

pytestmark = pytest.mark.slow

METRICS = {
    "psnr_db", "psnr_exemplar_db", "psnr_warp_db", "class_match", "background_class_match", "match_error",
    "oracle_psnr_db", "oracle_class_match", "oracle_match_error", "pairs", "seconds", "steps",
}  # fmt: skip


def run(out: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["demo", "--out", str(out), "--device", "cpu", *args])


def pictures(folder: Path) -> dict[str, tuple[int, int]]:
    """Size of every PNG of a folder by its name."""
    found = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            found[path.name] = image.size
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo of 3 steps."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    result = run(folder, "--steps", "3")
    assert result.exit_code == 0, result.output
    assert f"look at {folder / 'contact_sheet.png'}" in result.output
    assert "24 pairs that were not trained on; 3 training steps" in result.output
    return folder


def test_a_demo_leaves_the_files_a_user_would_have_and_the_answers(out: Path) -> None:
    assert PAIRS >= 16
    expected = {f"pair-{number:03d}.png": (64, 64) for number in range(PAIRS)}
    for folder in ("conditions", "exemplars", "truth", "out"):
        assert pictures(out / folder) == expected, folder
    lines = [json.loads(line) for line in (out / "out" / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == PAIRS
    assert {line["status"] for line in lines} == {"ok"}
    assert all(Path(line["exemplar"]).stem == Path(line["input"]).stem for line in lines)


def test_conditions_are_label_maps_and_pairs_are_of_different_styles(out: Path) -> None:
    labels = np.asarray(Image.open(out / "conditions" / "pair-000.png"))
    assert labels.shape == (64, 64)
    assert set(np.unique(labels)) == set(range(6))  # every class is visible
    exemplars = [np.asarray(Image.open(path)) for path in sorted((out / "exemplars").iterdir())]
    assert len({picture.tobytes() for picture in exemplars}) == PAIRS


def test_held_out_pairs_are_none_of_the_training_samples() -> None:
    plugin = plugins.load("shapes")
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), 5, 32)
    training = {sample.id for sample in plugin.index(None, "train")}
    assert all(pair.condition.id not in training and pair.exemplar.id not in training for pair in pairs)
    assert all(pair.condition.group == pair.exemplar.group != "" for pair in pairs)
    assert all(pair.condition.id != pair.exemplar.id for pair in pairs)


def test_metrics_are_the_named_ones(out: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == METRICS
    assert all(math.isfinite(value) for value in metrics.values())
    assert (metrics["pairs"], metrics["steps"]) == (PAIRS, 3)
    for share in ("class_match", "background_class_match", "oracle_class_match"):
        assert 0 <= metrics[share] <= 1
    assert metrics["oracle_class_match"] > metrics["class_match"]
    assert metrics["oracle_match_error"] < metrics["match_error"]
    assert metrics["seconds"] > 0


def test_psnr_is_that_of_the_written_files(out: Path) -> None:
    """Recomputed from what is in the folders, over the pixels whose source shows in the exemplar."""
    plugin = plugins.load("shapes")
    metrics = json.loads((out / "metrics.json").read_text())
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), PAIRS, 64)

    def mean(folder: str) -> float:
        scores = []
        for pair in pairs:
            images = [np.asarray(Image.open(out / f / f"{pair.name}.png")) for f in (folder, "truth")]
            scores.append(psnr(images[0], images[1], pair.truth.visible))
        return sum(scores) / len(scores)

    assert metrics["psnr_db"] == pytest.approx(mean("out"), abs=1e-3)
    assert metrics["psnr_exemplar_db"] == pytest.approx(mean("exemplars"), abs=1e-3)


def test_the_contact_sheet_and_the_weights_are_there(out: Path) -> None:
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 5 * 128
        assert sheet.height > 10 * 128
    header = read_header(out / "weights.safetensors")
    assert (header.plugin, header.step, header.config.preset) == ("shapes", 3, "tiny")
    assert (out / "runs" / "demo-1" / "metrics.jsonl").exists()


def test_a_second_demo_in_the_same_folder_uses_its_own_weights(out: Path) -> None:
    weights, images = (
        digest(out / "weights.safetensors"),
        [p.read_bytes() for p in (out / "out").glob("*.png")],
    )
    again = run(out, "--steps", "3", "--seed", "1")
    assert again.exit_code == 0, again.output
    assert digest(out / "weights.safetensors") != weights
    now = [path.read_bytes() for path in (out / "out").glob("*.png")]
    assert len(now) == PAIRS
    assert not set(now) & set(images)
    assert (out / "runs" / "demo-2" / "metrics.jsonl").exists()
    lines = [json.loads(line) for line in (out / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {line["weights"] for line in lines} == {digest(out / "weights.safetensors")}


def test_pretrained_shows_the_shipped_weights_and_trains_nothing(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the weights that the demo trained, it makes the demo's pictures and scores."""
    shipped = tmp_path / "shapes.safetensors"
    shutil.copy(out / "weights.safetensors", shipped)
    entry = {
        "url": shipped.name,
        "megabytes": 1,
        "sha256": digest(shipped),
        "license": "CC0-1.0",
        "card": "shapes.md",
    }
    (tmp_path / "index.json").write_text(json.dumps({"shapes": entry}))
    monkeypatch.setattr("mcltool.core.index.shipped_folder", lambda: tmp_path)
    result = run(tmp_path / "shown", "--pretrained")
    assert result.exit_code == 0, result.output
    assert "weights: shapes.safetensors, which comes with mcltool" in result.output
    assert not (tmp_path / "shown" / "runs").exists()
    jobs = [json.loads((folder / "out" / "job.json").read_text()) for folder in (out, tmp_path / "shown")]
    assert jobs[0]["settings"] == jobs[1]["settings"]
    sheets = [(folder / "contact_sheet.png").read_bytes() for folder in (out, tmp_path / "shown")]
    assert sheets[0] == sheets[1]
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (out, tmp_path / "shown")]
    assert all(scores[0][name] == scores[1][name] for name in METRICS - {"seconds"})


@pytest.mark.slow
def test_photos_shows_clothes_with_the_shipped_weights(tmp_path: Path) -> None:
    """Each result has the exemplar's colour where the drawing has the garment, which no two exemplars share."""
    result = run(tmp_path / "shown", "--photos")
    assert result.exit_code == 0, result.output
    assert "12 pairs in " in result.output
    assert "Alexey Grigorev's clothing-dataset, CC0 1.0" in result.output
    with Image.open(tmp_path / "shown" / "contact_sheet.png") as sheet:
        assert sheet.width > 12 * 128
    drawings = sorted((tmp_path / "shown" / "conditions").iterdir())
    results, photos = [], []
    for drawing in drawings:
        made = Image.open(tmp_path / "shown" / "out" / drawing.name)
        garment = np.asarray(Image.open(drawing).resize(made.size, Image.Resampling.NEAREST)) == 1
        results.append(np.asarray(made)[garment].mean(0))
        photo = np.asarray(Image.open(tmp_path / "shown" / "exemplars" / f"{drawing.stem}.jpg"))
        h, w, _ = photo.shape
        photos.append(np.median(photo[h * 2 // 5 : h * 3 // 5, w * 2 // 5 : w * 3 // 5], (0, 1)))
    apart = np.linalg.norm(np.subtract.outer(results, photos).diagonal(axis1=1, axis2=3), axis=2)
    assert (apart.argmin(1) == np.arange(len(drawings))).mean() > 0.7, apart


def test_what_is_shipped_of_photos_is_little() -> None:
    files = [path for path in (shipped_folder() / "clothing").rglob("*") if path.is_file()]
    assert len(files) == 24
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert shipped_weights("clothing").stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (["--pretrained", "--steps", "9"], "--pretrained trains nothing"),
        (["--photos", "--seed", "9"], "--photos trains nothing"),
        (["--photos", "--pretrained"], "leave one of them out"),
        (["--steps", "0"], "train.max_steps: must be at least 1"),
        (["--seed", "-1"], "train.seed: must not be negative"),
        (["--device", "tpu"], "--device tpu: no such device"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(args: list[str], cause: str, tmp_path: Path) -> None:
    result = run(tmp_path / "demo", *args)
    assert result.exit_code == 2
    assert result.output.startswith("mcltool: ")
    assert cause in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "told"), [(0.5, False), (60.0, True)])
def test_a_demo_that_will_take_long_says_so_with_the_reason_and_the_quicker_command(
    seconds: float, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = count(step=seconds)
    monkeypatch.setattr(demo.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(demo, "slowdowns", lambda: "8.0 processes want 2 cores")
    steps = [SimpleNamespace(result=SimpleNamespace(step=step), total=50) for step in range(1, 51)]
    seen: list[object] = []
    watch = demo.telling(seen.append)
    for step in steps:
        watch(step)  # type: ignore[arg-type]
    assert seen == steps
    said = capsys.readouterr().err.splitlines()
    assert len(said) == told
    if told:
        assert "about 40 minutes to go on this processor (8.0 processes want 2 cores)" in said[0]
        assert "mcltool demo --pretrained" in said[0]
