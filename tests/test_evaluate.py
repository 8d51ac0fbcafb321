"""``mcltool evaluate`` and ``compare`` from the command line, on folders with known differences and on weights."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mcltool_shapes import ShapesPlugin
from PIL import Image
from tiny_weights import make_weights

from mcltool.cli.main import cli
from mcltool.evaluate.scores import Scores, bootstrap_interval
from mcltool.evaluate.truth import psnr
from mcltool.translate.settings import EXTRAS

COUNT = 12


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def evaluate(*args: object) -> Result:
    return run("evaluate", *args, "--device", "cpu")


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return found


def refused(result: Result, code: int, *words: str) -> None:
    lines = result.output.splitlines()
    assert result.exit_code == code, result.output
    assert len(lines) == 1
    assert lines[0].startswith("mcltool: ")
    for word in words:
        assert word in lines[0]


def picture(seed: int, noise: float = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A shape of the data set ``shapes``, of another look for each seed, with noise."""
    plugin = ShapesPlugin()
    found = plugin.photo(plugin.index(None, "val")[seed], min(size)).astype(float)
    found = np.pad(found, ((0, size[0] - min(size)), (0, size[1] - min(size)), (0, 0)), "wrap")
    found += np.random.default_rng(seed).normal(0, noise, found.shape)
    return Image.fromarray(found.clip(0, 255).astype(np.uint8))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """real/a/NN.jpg-like truths, out/a/NN.png: the same with noise that grows with a shuffled number, styles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    for folder in ("real", "out", "styles"):
        (tmp_path / folder / "a").mkdir(parents=True)
    for number in range(COUNT):
        picture(number).save(tmp_path / "real" / "a" / f"{number:02d}.bmp")
        picture(number, 4 + 3 * rank_of(number)).save(tmp_path / "out" / "a" / f"{number:02d}.png")
        picture(number + 100).save(tmp_path / "styles" / "a" / f"{number:02d}.png")
    return tmp_path


def rank_of(number: int) -> int:
    """From the least noise, 0, to the most; not in the order of the names."""
    return (7 * number + 3) % COUNT


@pytest.mark.slow
def test_scores_are_written_and_shown_and_what_cannot_be_run_is_said(work: Path) -> None:
    result = evaluate("out", "--real", "real", "--exemplars", "styles")
    assert result.exit_code == 0, result.output
    assert "look at out-scores/report.html" in result.output
    found = scores(work / "out-scores")
    assert list(found["scores"])[:2] == ["swd", "swd_32"]
    assert found["about"]["images"] == COUNT
    plain = [
        psnr(
            *(
                np.asarray(Image.open(work / f / "a" / f"{n:02d}{s}"))
                for f, s in (("out", ".png"), ("real", ".bmp"))
            )
        )
        for n in range(COUNT)
    ]
    assert found["scores"]["psnr"]["value"] == pytest.approx(np.mean(plain))
    assert [found["images"][f"a/{n:02d}"]["psnr"] for n in range(COUNT)] == pytest.approx(plain)
    low, high = found["scores"]["psnr"]["low"], found["scores"]["psnr"]["high"]
    assert min(plain) < low < np.mean(plain) < high < max(plain)
    for name in ("fid", "kid", "lpips", "style", "semantic", "diversity"):
        assert f"not run: {name}: " in result.output
        assert found["not_run"][name]
    assert "weights get inception" in found["not_run"]["fid"]
    assert "--other" in found["not_run"]["diversity"]
    assert not list(work.glob("out/**/*.json"))


def test_json_is_what_is_written(work: Path) -> None:
    result = evaluate("out", "--real", "real", "--json", "--to", "there")
    assert json.loads(result.stdout) == scores(work / "there")


def test_equal_folders_are_at_the_best_of_every_metric(work: Path) -> None:
    asked = "swd,psnr,ssim,semantic,style,diversity"
    result = evaluate(
        "real", "--real", "real", "--exemplars", "real", "--other", "real", "--perceptual", "random",
        "--metrics", asked, "--to", "same",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = scores(work / "same")["scores"]
    assert found["swd"]["value"] == 0
    assert (found["psnr"]["value"], found["psnr"]["count"]) == (None, COUNT)
    assert "infinite: 12 images equal" in found["psnr"]["note"]
    for key in ("ssim", "semantic", "style_colour", "style_texture"):
        assert found[key]["value"] == pytest.approx(1, abs=1e-5)
    assert found["diversity_l1"]["value"] == 0
    assert "random filters" in result.output
    assert "inf" in result.output


def test_the_reports_worst_and_best_are_that(work: Path) -> None:
    assert evaluate("out", "--real", "real", "--conditions", "styles", "--metrics", "psnr").exit_code == 0
    page = (work / "out-scores" / "report.html").read_text()
    worst, best = page.split("<h3>Worst</h3>")[1].split("<h3>Best</h3>")
    by_noise = sorted(range(COUNT), key=rank_of)
    shown = [re.findall(r"<h4><span>a/(\d+)</span><b>([\d.]+)</b>", part) for part in (worst, best)]
    assert [int(name) for name, _ in shown[1]] == by_noise[:6]
    assert [int(name) for name, _ in shown[0]] == by_noise[::-1][:6]
    rows = scores(work / "out-scores")["images"]
    for name, value in (*shown[0], *shown[1]):
        assert float(value) == pytest.approx(rows[f"a/{name}"]["psnr"], rel=1e-3)
    assert page.count("<figcaption>condition</figcaption>") == 12
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_names_of_pictures_do_not_become_html(work: Path) -> None:
    for folder, suffix in (("out", ".png"), ("real", ".bmp")):
        (work / folder / "a" / f"00{suffix}").rename(work / folder / "a" / f"<b>&{suffix}")
    assert evaluate("out", "--real", "real", "--metrics", "psnr").exit_code == 0
    page = (work / "out-scores" / "report.html").read_text()
    assert "a/&lt;b&gt;&amp;" in page
    assert "<b>&" not in page


@pytest.mark.slow
def test_exemplars_come_from_the_manifest_then_names_then_the_only_one(work: Path) -> None:
    asked = ("--metrics", "style", "--perceptual", "random", "--exemplars", "styles", "--json")

    def style(*args: object) -> list[float]:
        result = evaluate("out", *asked, *args)
        assert result.exit_code == 0, result.output
        return [row["style_colour"] for row in json.loads(result.stdout)["images"].values()]

    by_name = style()
    lines = [
        json.dumps({"output": f"a/{n:02d}.png", "exemplar": f"a/{(n + 1) % COUNT:02d}.png"})
        for n in range(COUNT)
    ]
    (work / "out" / "manifest.jsonl").write_text("\n".join([*lines, '{"output": "a/cut']))
    by_manifest = style()
    assert by_manifest != by_name
    for number in range(COUNT):
        picture((number + 1) % COUNT + 100).save(work / "styles" / "a" / f"{number:02d}.png")
    (work / "out" / "manifest.jsonl").unlink()
    assert style() == pytest.approx(by_manifest)
    for path in sorted((work / "styles" / "a").iterdir())[1:]:
        path.unlink()
    assert len(style()) == COUNT
    picture(5).save(work / "styles" / "b.png")
    refused(evaluate("out", *asked), 2, "styles: no exemplar for 11 of 12 outputs, such as a/01")


def test_sizes(work: Path) -> None:
    """Other sizes are an error that names both; --size compares all at one; SWD alone needs one size of all."""
    picture(3, size=(48, 64)).save(work / "real" / "a" / "03.bmp")
    refused(
        evaluate("out", "--real", "real"),
        1,
        "real/a/03.bmp: 64 x 48 pixels",
        "out/a/03.png is 32 x 32",
        "--size 32x32",
    )
    assert evaluate("out", "--real", "real", "--size", "32").exit_code == 0
    refused(
        evaluate("out", "--real", "real", "--metrics", "swd"),
        2,
        "swd: needs images of one size",
        "64 x 48",
        "32 x 32",
    )


def test_jpeg_recodes_both_sides(work: Path) -> None:
    """As if outputs and photos had been saved so."""
    for folder in ("out", "real"):
        for path in (work / folder / "a").iterdir():
            (work / f"{folder}-jpg").mkdir(exist_ok=True)
            Image.open(path).save(work / f"{folder}-jpg" / f"{path.stem}.jpg", quality=60)
    asked = ("--metrics", "swd,psnr")
    assert evaluate("out", "--real", "real", *asked, "--jpeg", "60").exit_code == 0
    assert evaluate("out-jpg", "--real", "real-jpg", *asked).exit_code == 0
    recoded, saved = (scores(work / f"{name}-scores")["scores"] for name in ("out", "out-jpg"))
    assert recoded == saved
    assert evaluate("out", "--real", "real", *asked).exit_code == 0
    assert scores(work / "out-scores")["scores"] != saved


def test_pictures_that_translate_dir_saves_beside_its_results_are_no_outputs(work: Path) -> None:
    for kind in EXTRAS:
        picture(0).save(work / "out" / "a" / f"00.{kind}.png")
    asked = ("--real", "real", "--metrics", "psnr")
    assert evaluate("out", *asked).exit_code == 0
    assert scores(work / "out-scores")["scores"]["psnr"]["count"] == COUNT
    picture(0).save(work / "out" / "a" / "other.grid.png")  # the grid of nothing is a picture of that name
    refused(evaluate("out", *asked), 2, "1 of 13 images of OUT are not in --real, such as a/other.grid")


def test_names_that_do_not_match(work: Path) -> None:
    (work / "real" / "a" / "04.bmp").rename(work / "real" / "a" / "x.bmp")
    refused(
        evaluate("out", "--real", "real"), 2,
        "1 of 12 images of OUT are not in --real, such as a/04", "1 of 12 images of --real are not in OUT, such as a/x",
        "--partial scores the 11",
    )  # fmt: skip
    result = evaluate("out", "--real", "real", "--partial")
    assert result.exit_code == 0, result.output
    assert scores(work / "out-scores")["scores"]["swd"]["count"] == 11
    assert evaluate("out", "--real", "real", "--metrics", "swd").exit_code == 0
    assert scores(work / "out-scores")["scores"]["swd"]["count"] == 12
    refused(evaluate("out/a", "--real", "real"), 2, "no image of OUT has the name of one of --real")
    picture(0).save(work / "out" / "a" / "00.jpg")
    refused(evaluate("out", "--real", "real"), 2, "have the same name but for the suffix")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["none", "--real", "real"], 2, ["none: no such folder"]),
        (["empty", "--real", "real"], 2, ["empty: no images in it", "OUT"]),
        (["out", "--real", "empty"], 2, ["empty: no images in it", "--real"]),
        (["out"], 2, ["no metric can be run: ", "psnr: needs --real"]),
        (["out", "--real", "real", "--metrics", "fit"], 2, ["no metric 'fit'", "fid, kid, swd"]),
        (["out", "--real", "real", "--metrics", "style"], 2, ["style: needs --exemplars"]),
        (["out", "--real", "real", "--metrics", "semantic"], 2, ["semantic: ", "mcltool weights get vgg19"]),
        (["out", "--real", "real", "--size", "big"], 2, ["--size big", "256x192"]),
        ([], 2, ["either a folder OUT or --weights FILE"]),
        (["out", "--weights", "w"], 2, ["either a folder OUT or --weights FILE"]),
        (["--weights", "w", "--real", "real"], 2, ["--weights makes its own photos"]),
        (["--weights", "none.safetensors"], 2, ["none.safetensors: no such weights file"]),
    ],
)
def test_what_cannot_be_done_is_one_line(args: list[str], code: int, words: list[str], work: Path) -> None:
    (work / "empty").mkdir()
    refused(evaluate(*args), code, *words)
    assert not (work / "out-scores").exists()


def test_a_damaged_image_is_named(work: Path) -> None:
    path = work / "out" / "a" / "05.png"
    path.write_bytes(path.read_bytes()[:100])
    refused(evaluate("out", "--real", "real"), 1, "out/a/05.png: damaged or cut-off image")


@pytest.mark.parametrize(("package", "metric"), [("torchmetrics", "ssim"), ("torch_fidelity", "fid")])
def test_without_the_extra_the_rest_is_scored(
    package: str, metric: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = evaluate("out", "--real", "real")
    assert result.exit_code == 0, result.output
    assert f"not run: {metric}: needs the package {package}: pip install 'mcltool[metrics]'" in result.output
    assert "psnr" in scores(work / "out-scores")["scores"]
    refused(
        evaluate("out", "--real", "real", "--metrics", metric), 2, f"{metric}: needs the package {package}"
    )


def test_bootstrap_intervals_are_near_the_normal_ones_and_repeatable() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    half = 1.96 * values.std() / math.sqrt(len(values))
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.25 * half)
    assert (low, high) == bootstrap_interval(values)


@pytest.mark.slow
def test_weights_are_scored_on_the_held_out_split(work: Path) -> None:
    """The folders are those of a user; exemplars share the style; the data set's truth scores the correspondence."""
    weights = make_weights(work / "runs" / "x" / "weights.safetensors")
    asked = ("--count", 6, "--metrics", "psnr,swd,diversity")
    result = evaluate("--weights", weights, *asked)
    assert result.exit_code == 0, result.output
    folder = weights.parent / "evaluation"
    plugin = ShapesPlugin()
    samples = plugin.index(None, "val")
    for number in range(6):
        name = f"val/{number:06d}.png"
        real = np.asarray(Image.open(folder / "real" / name))
        np.testing.assert_array_equal(real, plugin.photo(samples[number], 32))
        exemplar = np.asarray(Image.open(folder / "exemplars" / name))
        following = 4 * (number // 4) + (number + 1) % 4  # the next of the four of its style
        np.testing.assert_array_equal(exemplar, plugin.photo(samples[following], 32))
        assert (folder / "other-out" / name).is_file()
    found = scores(folder)
    assert set(found["scores"]) == {
        "swd", "swd_32", "swd_16", "psnr", "diversity_l1", "class_match", "background_class_match", "match_error"
    }  # fmt: skip
    assert found["scores"]["class_match"]["count"] == 6
    assert found["warnings"] == []
    assert found["about"]["weights_sha256"]
    page = (folder / "report.html").read_text()
    for role in ("condition", "exemplar", "output", "truth"):
        assert f"<figcaption>{role}</figcaption>" in page

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert evaluate("--weights", weights, *asked).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before
    assert scores(folder) == found

    refused(evaluate("--weights", weights, "--count", 4), 2, "holds another data set, size, count", "--to")
    (work / "pairs.csv").write_text("".join(f"val/{n:06d},val/000500\n" for n in range(6)))
    pairs = ("--count", 6, "--pairs", "pairs.csv", "--to", "paired", "--metrics", "psnr")
    assert evaluate("--weights", weights, *pairs).exit_code == 0
    exemplar = np.asarray(Image.open(work / "paired" / "exemplars" / "val" / "000003.png"))
    np.testing.assert_array_equal(exemplar, plugin.photo(samples[500], 32))
    truth = plugin.truth(samples[3], samples[500], 32).image
    np.testing.assert_array_equal(Image.open(work / "paired" / "real" / "val" / "000003.png"), truth)
    refused(evaluate("--weights", weights, "--to", "real"), 2, "real: is not empty", "--to")
    refused(evaluate("--weights", weights, "--plugin", "ade20k"), 2, "was trained on shapes")


def test_compare_names_the_better_one_only_where_it_is_shown(work: Path) -> None:
    """b has less noise than a everywhere; c has less on every second image, and as much more on the others."""
    for name, factors in (("b", (0.5, 0.5)), ("c", (0.7, 1 / 0.7))):
        for number in range(COUNT):
            factor = factors[number % 2]
            path = work / name / "a" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(100 + number).normal(
                0, factor * (4 + 3 * rank_of(number)), (32, 32, 3)
            )
            truth = np.asarray(Image.open(work / "real" / "a" / f"{number:02d}.bmp"))
            Image.fromarray((truth + noise).clip(0, 255).astype(np.uint8)).save(path)
    for name in ("out", "b", "c"):
        assert evaluate(name, "--real", "real", "--metrics", "psnr,ssim,swd").exit_code == 0
    result = run("compare", "out-scores", "b-scores/scores.json", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["key"]: row for row in json.loads(result.stdout)["differences"]}
    assert (rows["psnr"]["better"], rows["ssim"]["better"]) == ("B", "B")
    assert rows["psnr"]["low"] > 4
    assert rows["psnr"]["difference"] == pytest.approx(rows["psnr"]["b"] - rows["psnr"]["a"])
    assert (rows["swd"]["better"], rows["swd"]["low"]) == ("unknown", None)
    back = {
        r["key"]: r
        for r in json.loads(run("compare", "b-scores", "out-scores", "--json").stdout)["differences"]
    }
    assert back["psnr"]["better"] == "A"
    again = json.loads(run("compare", "out-scores", "c-scores", "--json").stdout)["differences"]
    assert {row["key"]: row["better"] for row in again}["psnr"] == "none"
    shown = run("compare", "out-scores", "c-scores").output
    assert "no difference shown" in shown


def test_compare_warns_of_what_does_not_compare(work: Path) -> None:
    assert evaluate("out", "--real", "real", "--metrics", "psnr").exit_code == 0
    (work / "out" / "a" / "00.png").unlink()
    args = ("--real", "real", "--metrics", "psnr", "--partial", "--size", "16", "--to", "less")
    assert evaluate("out", *args).exit_code == 0
    shown = run("compare", "out-scores", "less").output
    assert "scored were 12 and 11 images, 11 of them the same" in shown
    assert "A and B differ in the size they were compared at: None and [16, 16]" in shown


@pytest.mark.parametrize(
    "content", [None, "{}", "[]", "no json", '{"format": "mcltool-scores", "version": 9}']
)
def test_compare_of_something_else(content: str | None, work: Path) -> None:
    path = work / "x.json"
    if content is not None:
        path.write_text(content)
    refused(run("compare", path, path), 2 if content is None else 1, "x.json: ")


def test_scores_survive_their_file(tmp_path: Path) -> None:
    images = {"a": {"psnr": 1.5, "match_error": math.nan}, "b": {"psnr": math.inf}}
    (tmp_path / "s.json").write_text(Scores({"out": "x"}, images=images).to_json())
    found = Scores.read(tmp_path / "s.json")
    assert found.images["a"]["psnr"] == 1.5
    assert math.isnan(found.images["a"]["match_error"])
