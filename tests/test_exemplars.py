"""Several exemplars for one condition, from files to files, with the networks of random tiny weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from mcltool_shapes import ShapesPlugin
from PIL import Image
from tiny_weights import make_weights
from translating import files, make_condition, make_photo, manifest, run

import mcltool
from mcltool import Exemplar, UsageError
from mcltool.cli.main import cli
from mcltool.core.pictures import MARKS
from mcltool.translate.exemplars import check, weights_of

SPEC = ShapesPlugin().spec
FIRST, SECOND = SPEC.names[1], SPEC.names[2]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six masks, background above and class 1 below, and three photos."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        make_condition(tmp_path / "masks" / f"{number}.png", label=1)
    for number, name in enumerate("abc"):
        make_photo(tmp_path / "photos" / f"{name}.png", number, (40, 40 + 16 * number))
    make_weights(tmp_path / "runs" / "shapes-1" / "weights.safetensors")
    return tmp_path


def write_list(*rows: str, header: str = "condition,exemplar,weight,region,classes") -> None:
    Path("list.csv").write_text("\n".join([header, *rows]) + "\n")


def everyone(*exemplars: str) -> list[str]:
    return [f"{number},{exemplar}" for number in range(6) for exemplar in exemplars]


def grey(path: str, values: list[list[int]], scale: int = 16) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8).repeat(scale, 0).repeat(scale, 1)).save(path)


def translate(*args: str) -> str:
    """The only line that ``mcltool translate`` prints, where it fails; nothing may be written."""
    before = files(Path())
    result = CliRunner().invoke(cli, ["translate", "masks/0.png", "one.png", *args, "--device", "cpu"])
    assert result.exit_code in (1, 2), result.output
    assert files(Path()) == before
    (line,) = (line for line in result.output.splitlines() if not line.startswith("weights: "))
    return line


# --- weights of positions ---


def test_weights_are_the_products_of_weight_region_and_share_of_the_classes(work: Path) -> None:
    planes = np.zeros((16, 32), np.uint8)
    planes[:, 18:] = 1  # from the middle of the fifth position on
    grey("region.png", [[255, 51]])
    exemplars = [Exemplar("a", 2.0, "region.png"), Exemplar("b", 1.0, classes=(FIRST,)), Exemplar("c", 0.0)]
    weights, uncovered = weights_of(exemplars, planes, (40, 80), SPEC)
    assert weights.shape == (3, 4, 8)
    np.testing.assert_allclose(weights[0], np.repeat([[2.0, 0.4]], 4, 1).repeat(4, 0), atol=1e-6)
    np.testing.assert_allclose(weights[1], np.repeat([[0, 0, 0, 0, 0.5, 1, 1, 1]], 4, 0))
    assert not weights[2].any()
    assert uncovered == 0


def test_a_position_without_exemplar_takes_them_all_by_their_weights() -> None:
    planes = np.zeros((8, 8), np.uint8)
    planes[:4], planes[4:, :4] = 1, 2
    exemplars = [Exemplar("a", 3.0, classes=(FIRST,)), Exemplar("b", 1.0, classes=(SECOND,))]
    weights, uncovered = weights_of(exemplars, planes, (8, 8), SPEC)
    assert uncovered == 1
    assert weights[:, 1, 1].tolist() == [3, 1]
    assert weights[:, 0, 0].tolist() == [3, 0]


def test_what_an_exemplar_is_written_as_is_read_back(work: Path) -> None:
    grey("r.png", [[255]])
    for exemplar in (
        Exemplar("photos/a.png"),
        Exemplar("photos/a.png", 0.5),
        Exemplar("photos/a.png", region="r.png"),
        Exemplar("photos/a.png", 0.25, classes=(FIRST, SECOND)),
        Exemplar("photos/a.png", 2, "r.png", (FIRST, SECOND)),
    ):
        assert Exemplar.parse(exemplar.label("photos/a.png")) == exemplar
    Path("odd@wing:2.png").touch()
    assert Exemplar.parse("odd@wing:2.png") == Exemplar("odd@wing:2.png")
    assert Exemplar.parse("odd@wing:2.png:3@boot") == Exemplar("odd@wing:2.png", 3, classes=("boot",))


# --- translate-dir ---


def test_exemplars_of_one_condition_make_one_output_and_the_manifest_names_them(work: Path) -> None:
    grey("left.png", [[255, 0]])
    write_list(*everyone("a,1,,", f"b.png,0.5,,{FIRST}"))
    Path("list.csv").write_text(Path("list.csv").read_text().replace("5,a,1,,", "5,a,1,left.png,"))
    make_condition(work / "masks" / "5.png", (32, 64))
    grey("left.png", [[255, 0]], 32)
    result = run("--pair", "list.csv", "--pair-out", "again.csv", "--save", "grid,confidence")
    assert result.exit_code == 0, result.output
    assert "blocks" in result.output, "at 5.png's right half above no exemplar is left"
    found = manifest(work / "out")
    assert len(found) == 6
    assert found["0.png"]["exemplar"] == f"a.png + b.png:0.5@{FIRST}"
    assert found["5.png"]["exemplar"] == f"a.png@left.png + b.png:0.5@{FIRST}"
    assert found["0.png"]["output"] == "0.png"
    assert "0 ok, 6 skipped" in run("--pair", "again.csv", "--save", "grid,confidence").output


def test_one_exemplar_of_weight_1_gives_the_bytes_of_a_plain_list(work: Path) -> None:
    write_list(*everyone("b,1,,"))
    assert run("--pair", "list.csv").exit_code == 0
    write_list(*everyone("b"), header="condition,exemplar")
    assert run("--pair", "list.csv", out="plain").exit_code == 0
    assert files(work / "out") == files(work / "plain")
    assert manifest(work / "out")["0.png"]["exemplar"] == "b.png"


def test_a_plain_list_of_two_columns_still_makes_an_output_a_row(work: Path) -> None:
    write_list(*everyone("a", "b"), header="condition,exemplar")
    assert run("--pair", "list.csv").exit_code == 0
    assert len(files(work / "out")) == 12


def test_an_exemplar_of_weight_0_changes_nothing(work: Path) -> None:
    write_list(*everyone("a,1,,", "b,1,,"))
    assert run("--pair", "list.csv").exit_code == 0
    write_list(*everyone("a,1,,", "b,1,,", "c,0,,"))
    assert run("--pair", "list.csv", out="other").exit_code == 0
    for name, picture in files(work / "out").items():
        mine, theirs = (np.asarray(Image.open(work / out / name), int) for out in ("out", "other"))
        np.testing.assert_allclose(mine, theirs, atol=1, err_msg=str(len(picture)))


def test_regions_of_a_folder_are_taken_by_name(work: Path) -> None:
    write_list(*everyone("a", "b"), header="condition,exemplar")
    for number in range(6):
        grey(f"regions/{number}/a.png", [[255, 0]], 20)
    grey("regions/0/a.png", [[255], [0]], 20)
    for number in range(6):
        make_condition(work / "masks" / f"{number}.png", (20, 40) if number else (40, 20))
    result = run("--pair", "list.csv", "--regions", "regions")
    assert result.exit_code == 0, result.output
    assert manifest(work / "out")["3.png"]["exemplar"] == "a.png@regions/3/a.png + b.png"
    assert "0 ok, 6 skipped" in run("--pair", "list.csv", "--regions", "regions").output


@pytest.mark.parametrize("change", ["photo", "region", "weight"])
def test_an_output_is_made_again_when_any_of_its_exemplars_changes(work: Path, change: str) -> None:
    grey("region.png", [[255, 0], [255, 255]])
    rows = everyone("a,1,,", "b,1,,")[2:]
    write_list("0,a,1,region.png,", "0,c,1,,", *rows)
    assert run("--pair", "list.csv").exit_code == 0
    if change == "photo":
        make_photo(work / "photos" / "c.png", 9)
    if change == "region":
        grey("region.png", [[0, 255], [255, 255]])
        os.utime("region.png", (1, 1))
    if change == "weight":
        write_list("0,a,1,region.png,", "0,c,2,,", *rows)
    assert "1 ok, 5 skipped" in run("--pair", "list.csv").output


@pytest.mark.slow
def test_killed_and_run_again_the_bytes_are_those_of_an_undisturbed_job(work: Path) -> None:
    for number in range(6, 40):
        make_condition(work / "masks" / f"{number}.png", (32, 32 + 16 * (number % 2)), 1 + number % 3)
    rows = [f"{n},{e}" for n in range(40) for e in ("a,1,,", f"b,0.5,,{FIRST}", "c,0.2,,")[: 1 + n % 3]]
    write_list(*rows)
    options = ("--pair", "list.csv", "--batch-size", "2")
    assert run(*options, out="whole").exit_code == 0
    command = [sys.executable, "-m", "mcltool", "translate-dir", "masks", "photos", "out", *options]
    for more in (1, 7):
        job = subprocess.Popen(
            [*command, "--device", "cpu", "--precision", "fp32"], stderr=subprocess.DEVNULL
        )
        wanted, end = len([*Path("out").glob("*.png")]) + more, time.monotonic() + 120
        while len([*Path("out").glob("*.png")]) < wanted and job.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        job.communicate()
    assert run(*options).exit_code == 0
    assert files(work / "out") == files(work / "whole")
    assert len(manifest(work / "out")) == 40


# --- bad input ---


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (["0,a,1,,", f"0,b,1,,{FIRST[:-1]}"], f"no class {FIRST[:-1]!r} (did you mean {FIRST}?)"),
        (["0,a,-1,,"], "line 2: weight '-1': expected 0, or a number from 0.000001 to 1000000"),
        (["0,a,1,,", "0,b,nan,,"], "line 3: weight 'nan': expected 0, or a number"),
        (["0,a,1,,", "0,b,1e308,,"], "line 3: weight '1e308': expected 0, or a number"),
        (["0,a,1,,", "0,b,much,,"], "weight 'much'"),
        (["0,a,0,,", "0,b,0,,"], "all exemplars of a condition have weight 0"),
        (["0,a,1,,", "0,a.png,0.5,,"], "line 3: 'a.png' comes twice for '0'"),
        (["0,a,1,,", "0,b,1,none.png,"], "region none.png: no such file"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(work: Path, rows: list[str], cause: str) -> None:
    write_list(*rows, *everyone("a,1,,")[1:])
    result = run("--pair", "list.csv")
    assert result.exit_code == 2
    assert cause in result.output.splitlines()[-1]
    assert not Path("out").exists()


@pytest.mark.slow
def test_ten_thousand_exemplars_for_one_condition_are_refused(work: Path) -> None:
    (work / "many").mkdir()
    for number in range(10_000):
        (work / "many" / f"{number}.png").touch()
    write_list(*(f"0,{number},1,," for number in range(10_000)), *(f"{n},0,1,," for n in range(1, 6)))
    result = run("--pair", "list.csv", exemplars="many")
    assert result.exit_code == 2
    assert "10000 exemplars for one condition: expected at most 64" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("region", "cause"),
    [
        ([[255, 0]], "the region is 32 x 16 pixels, its condition 32 x 32: expected the same aspect"),
        ([[0, 0], [0, 0]], "the region is black everywhere"),
    ],
)
def test_a_region_that_cannot_be_is_one_failed_input(work: Path, region: list[list[int]], cause: str) -> None:
    grey("region.png", region)
    write_list("0,a,1,region.png,", "0,b,1,,", *everyone("a,1,,", "b,1,,")[2:])
    assert run("--pair", "list.csv").exit_code == 1
    found = manifest(work / "out")
    assert [line["status"] for line in found.values()] == ["failed", *["ok"] * 5]
    assert cause in found["0.png"]["cause"]
    assert not Path("out/0.png").exists()
    assert cause in translate("--exemplar", "photos/a.png@region.png", "--exemplar", "photos/b.png")


def test_translate_says_what_is_wrong_in_one_line(work: Path) -> None:
    two = ("--exemplar", "photos/b.png")
    assert "(did you mean " in translate("--exemplar", f"photos/a.png@{FIRST[:-1]}", *two)
    assert "weight '-2'" in translate("--exemplar", "photos/a.png:-2", *two)
    assert "2 times for one condition" in translate(*two, *two)
    assert "photos/none.png: no such file" in translate("--exemplar", "photos/none.png", *two)
    assert "expected CONDITION EXEMPLAR OUT, or CONDITION OUT and --exemplar" in translate()
    result = run("--regions", "photos")
    assert "--regions photos: needs a list of exemplars, --pair FILE.csv" in result.output


def test_conditions_without_classes_have_none_to_choose_by() -> None:
    spec = mcltool.ConditionSpec("channels", ("line",), ((255, 0, 0),))
    with pytest.raises(UsageError, match="these conditions have no classes"):
        check([Exemplar("a"), Exemplar("b", classes=("line",))], spec, "here")
    with pytest.raises(UsageError, match="weight nan"):
        Exemplar("a", float("nan"))
    with pytest.raises(UsageError, match="a is given 2 times"):
        check([Exemplar("a"), Exemplar("b/../a")], spec, "here")


# --- as a library ---


def test_translate_images_takes_several_exemplars(work: Path) -> None:
    pair = [Exemplar("photos/a.png", classes=(FIRST,)), Exemplar("photos/b.png", 0.5)]
    (made,) = mcltool.translate_images(["masks/0.png"], [pair], device="cpu", precision="fp32")
    write_list(*everyone(f"a,1,,{FIRST}", "b,0.5,,"))
    assert run("--pair", "list.csv").exit_code == 0
    assert made.image is not None
    np.testing.assert_allclose(made.image, np.asarray(Image.open("out/0.png"), int), atol=1)
    assert [exemplar.path for exemplar in made.exemplars] == ["photos/a.png", "photos/b.png"]


# --- morph, explain and gallery ---


def test_a_morph_goes_from_one_exemplar_to_the_other(work: Path) -> None:
    common = ("--device", "cpu", "--precision", "fp32")
    two = ("--exemplar", "photos/a.png", "--exemplar", "photos/b.png")
    runner = CliRunner()
    done = runner.invoke(cli, ["translate", "masks/0.png", "way.png", *two, "--morph", "3", *common])
    assert done.exit_code == 0, done.output
    for photo, name in (("a", "way-1.png"), ("b", "way-3.png")):
        assert (
            runner.invoke(
                cli, ["translate", "masks/0.png", f"photos/{photo}.png", "end.png", *common]
            ).exit_code
            == 0
        )
        end, found = (np.asarray(Image.open(path), int) for path in ("end.png", name))
        np.testing.assert_allclose(found, end, atol=1)
    assert Path("way-2.png").is_file()
    assert not Path("way.png").exists()
    assert "--morph 3: needs two --exemplar, found 3" in translate(
        *two, "--exemplar", "photos/c.png", "--morph", "3"
    )


def test_explain_shows_who_gave_what_in_its_colour(work: Path) -> None:
    two = ("--exemplar", f"photos/a.png@{SPEC.names[0]}", "--exemplar", f"photos/b.png@{FIRST}")
    done = CliRunner().invoke(cli, ["explain", "masks/0.png", "seen.png", *two, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert f"photos/a.png@{SPEC.names[0]}: 50.0%" in done.output, "the background is the upper half"
    sheet = np.asarray(Image.open("seen.png"))
    pixels = (sheet[:, :, None] == np.array(MARKS[:2])[None, None]).all(-1).sum((0, 1))
    assert (pixels > 100 * 200).all(), "half of a panel of 256 x 256 pixels each"
    refused = CliRunner().invoke(cli, ["explain", "masks/0.png", "seen.png", *two, "--at", "1,1"])
    assert "--at works with one exemplar" in refused.output


def test_the_gallery_shows_each_exemplar_with_its_weight(work: Path) -> None:
    write_list(*everyone("a,1,,", f"b.png,0.5,,{FIRST}"))
    assert run("--pair", "list.csv", "--gallery").exit_code == 0
    page = Path("out/index.html").read_text()
    assert page.count("<b>Exemplar</b> a.png<") == 6
    assert page.count(f"<b>Exemplar</b> b.png:0.5@{FIRST}<") == 6


def styles(*args: str) -> tuple[int, str]:
    """Exit code, and the scores of style as the table has them or the last line."""
    asked = ("evaluate", "out", "--exemplars", "photos", "--perceptual", "random", "--metrics", "style")
    done = CliRunner().invoke(cli, [*asked, *args])
    return done.exit_code, done.output if done.exit_code == 0 else done.output.splitlines()[-1]


def test_evaluate_compares_with_all_exemplars_of_an_output_by_their_weights(work: Path) -> None:
    """A photo of the output's own name is not taken for its exemplar; exemplars of weight 0 do not count."""
    write_list(*everyone("a,0,,", "b,0.5,,"))
    assert run("--pair", "list.csv").exit_code == 0
    make_photo(work / "photos" / "0.png")
    code, several = styles("--to", "several", "--json")
    assert code == 0, several
    (work / "out" / "manifest.jsonl").unlink()
    for name in ("a", "c", "0"):
        (work / "photos" / f"{name}.png").unlink()
    code, alone = styles("--to", "alone", "--json")
    assert code == 0, alone
    found = [
        {name: row["style_colour"] for name, row in json.loads(text)["images"].items()}
        for text in (several, alone)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert "exemplar 2" in Path("several/report.html").read_text()


def test_evaluate_needs_the_conditions_of_exemplars_that_act_by_class_and_reads_regions(work: Path) -> None:
    grey("region.png", [[255, 0], [255, 255]])
    write_list(*everyone("a,1,region.png,", f"b,1,,{FIRST}"))
    assert run("--pair", "list.csv").exit_code == 0
    code, line = styles()
    assert code == 2
    assert f"which act by region or class ({FIRST}): needs --conditions and --plugin" in line
    code, output = styles("--conditions", "masks", "--plugin", "shapes")
    assert code == 0, output
    assert "style: colour" in output
    (work / "region.png").unlink()
    assert "no class 'region.png'" in styles("--conditions", "masks", "--plugin", "shapes")[1]
    (work / "photos" / "a.png").unlink()
    assert "a.png: no such file, but 0 was made of it" in styles()[1]
