"""Every command of docs/results.md that evaluates or translates, run to its end.

On generated trees of the official names, with lists in the authors' form (file names, several exemplars a line, no end
of the last line) and random tiny weights.
"""

from __future__ import annotations

import json
import random
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner, Result
from faces import FACE, add
from mcltool_ade20k import Ade20kPlugin
from mcltool_celebahq import CelebAHQPartsPlugin
from mcltool_deepfashion import DeepFashionFarPlugin
from PIL import Image
from posing import PERSON, write_text
from tiny_weights import make_weights

from mcltool import DatasetPlugin
from mcltool.cli.main import cli
from mcltool.model.vgg import random_vgg

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RUNS: dict[str, DatasetPlugin] = {
    "ade20k": Ade20kPlugin(),
    "celebahq": CelebAHQPartsPlugin(),
    "deepfashion": DeepFashionFarPlugin(),
}
DRESS = "WOMEN/Dresses/id_0000000"


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


def commands(beginning: str, metrics: str = "") -> list[list[str]]:
    """The words of the page's commands that begin so. metrics: in place of the page's."""
    blocks = "\n".join(re.findall(r"```sh[^\n]*\n(.*?)```", PAGE.read_text(), re.S)).replace("\\\n", " ")
    (asked,) = re.findall(r"^METRICS=(.*)$", blocks, re.M)
    lines = [line for line in blocks.splitlines() if line.startswith(f"mcltool {beginning}")]
    return [shlex.split(line.replace("$METRICS", metrics or asked))[1:] for line in lines]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).resize((48, 48)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three data sets, the authors' lists and weights, as the page's commands name them."""
    place = tmp_path_factory.mktemp("authors")
    for name, plugin in RUNS.items():
        (place / "runs" / name).mkdir(parents=True)
        make_weights(place / "runs" / name / "weights.safetensors", plugin.name, plugin.spec)
    ade = place / "ADEChallengeData2016"
    for split, short, count in (("training", "train", 4), ("validation", "val", 3)):
        for n in range(1, count + 1):
            stem = f"ADE_{short}_{n:08d}"
            picture(ade / "images" / split / f"{stem}.jpg", n)
            (ade / "annotations" / split).mkdir(parents=True, exist_ok=True)
            labels = np.full((48, 48), n, np.uint8)
            Image.fromarray(labels).save(ade / "annotations" / split / f"{stem}.png")
    (place / "ade20k_ref_test.txt").write_text(
        "\n".join(f"ADE_val_{n:08d}.jpg,ADE_train_{5 - n:08d}.jpg,ADE_train_00000001.jpg" for n in (3, 1, 2))
    )
    faces = place / "CelebAMask-HQ"
    for number in (3, 10, 2001, 2002, 14721):
        add(faces, number, FACE, np.full((128, 128, 3), number % 251, np.uint8))
    (faces / "train.txt").write_text("3\n2002\n14721")
    (faces / "val.txt").write_text("10\n2001")
    (place / "celebahq_ref_test.txt").write_text("10.jpg,2002.jpg,3.jpg\n2001.jpg,3.jpg,2002.jpg")
    fashion = place / "DeepFashion"
    for garment, views in (("1", ("front", "side")), ("2", ("front", "back")), ("3", ("front",))):
        for view in views:
            name = f"{DRESS}{garment}/01_1_{view}"
            picture(fashion / "img" / f"{name}.jpg", len(view) + int(garment))
            write_text(fashion / "pose" / name, PERSON / 2)
    (fashion / "val.txt").write_text(
        f"img/{DRESS}1/01_1_front.jpg\nimg/{DRESS}1/01_1_side.jpg\nimg/{DRESS}2/01_1_back.jpg"
    )
    return place


def test_every_evaluation_of_the_page_runs_to_its_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    made = commands("evaluate", metrics="psnr")
    assert len(made) == 3
    for words in made:
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert "psnr" in done.stdout.lower()
    exemplars = {path.name: path for path in (place / "runs/ade20k/evaluation/exemplars").iterdir()}
    assert sorted(exemplars) == [f"ADE_val_{n:08d}.png" for n in (1, 2, 3)]
    first = np.asarray(Image.open(exemplars["ADE_val_00000003.png"]), int)
    wanted = Image.open(place / "ADEChallengeData2016/images/training/ADE_train_00000002.jpg")
    assert np.abs(first - np.asarray(wanted.resize(first.shape[1::-1], Image.Resampling.BOX), int)).mean() < 8


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A $MCLTOOL_HOME with Inception, AlexNet and VGG-19 of random filters, converted as a user would."""
    name = "torch_fidelity.feature_extractor_inceptionv3"
    extractor = pytest.importorskip(name, reason="needs the extra metrics").FeatureExtractorInceptionV3
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCLTOOL_HOME", str(home))
        with patch.context() as unread:
            unread.setattr(extractor, "load_state_dict", lambda *_: None)
            unread.setattr(torch, "load", lambda *_, **__: None)
            inception = extractor("inception", ["2048"], "nowhere").state_dict()
        files = {
            "weights-inception-2015-12-05-6726825d.pth": inception,
            "alexnet.pth": torchvision.models.alexnet().state_dict(),
            "vgg19.pth": random_vgg().state_dict(),
        }
        for file, state in files.items():
            torch.save(state, home / file)
            converted = run("weights", "convert", str(home / file))
            assert converted.exit_code == 0, converted.output
    return home


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_every_evaluation_of_the_page_runs_with_the_pages_metrics(
    number: int, place: Path, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", str(networks))
    monkeypatch.chdir(place)
    done = run(*commands("evaluate")[number], "--to", f"scored-{number}")
    assert done.exit_code == 0, done.output
    found = json.loads((place / f"scored-{number}" / "scores.json").read_text())
    assert not found["not_run"]
    wanted = {"fid", "kid", "swd", "semantic", "style_colour", "style_texture", "diversity_lpips"}
    assert wanted <= found["scores"].keys()
    assert all(found["scores"][key]["value"] is not None for key in wanted)


def test_fashion_takes_the_other_view_even_from_the_training_photos(place: Path) -> None:
    """Garment 2 has its front among the training photos."""
    from mcltool.core.config import DataConfig
    from mcltool.data.dataset import open_data

    _, held_out = open_data(RUNS["deepfashion"], place / "DeepFashion", DataConfig((32, 32)), 0)
    found = {sample.id: held_out.exemplar_of(n).id for n, sample in enumerate(held_out.samples)}
    assert found == {
        f"{DRESS}1/01_1_front": f"{DRESS}1/01_1_side",
        f"{DRESS}1/01_1_side": f"{DRESS}1/01_1_front",
        f"{DRESS}2/01_1_back": f"{DRESS}2/01_1_front",
    }


def test_the_translation_of_the_page_takes_the_list(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (words,) = commands("translate-dir")
    done = run(*words)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (place / "out/manifest.jsonl").read_text().splitlines()]
    taken = {Path(row["input"]).stem: Path(row["exemplar"]).stem for row in rows if "input" in row}
    assert taken == {f"ADE_val_{n:08d}": f"ADE_train_{5 - n:08d}" for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.jpg,999.jpg,3.jpg\n2001.jpg,3.jpg", "10, which has a first exemplar that is not there"),
        ("2001.jpg,3.jpg", "10, which has no line"),
    ],
)
def test_a_missing_exemplar_is_counted_and_named_and_partial_leaves_it_out(
    text: str, why: str, place: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "ref.txt"
    pairs.write_text(text)
    weights, root = place / "runs/celebahq/weights.safetensors", place / "CelebAMask-HQ"
    asked = (
        "evaluate",
        "--weights",
        str(weights),
        "--root",
        str(root),
        "--pairs",
        str(pairs),
        "--metrics",
        "psnr",
    )
    done = run(*asked, "--to", str(tmp_path / "a"))
    assert done.exit_code == 2
    assert f"1 of 2 held-out samples lack an exemplar, such as {why}; --partial" in done.output
    assert not (tmp_path / "a").exists()
    done = run(*asked, "--to", str(tmp_path / "b"), "--partial")
    assert done.exit_code == 0, done.output
    assert [path.stem for path in (tmp_path / "b/out").glob("*.png")] == ["2001"]


def test_a_list_of_the_size_of_celebas_is_matched_with_one_look_at_each_sample() -> None:
    """Samples whose making takes long are made once for each side, however many exemplars there are."""
    from mcltool.data.pairs import Names, match_names
    from mcltool.plugin.contract import Sample

    class Counted(list[Sample]):
        looks = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.looks += len(self)
            return super().__iter__()

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            self.looks += 1
            return super().__getitem__(index)

    samples = Counted(Sample(str(n), Path(f"{n}.jpg")) for n in range(50))
    draw = random.Random(0)
    pairs = {f"{n}.jpg": [f"{m}.jpg" for m in draw.sample(range(50), 20)] for n in range(50)}
    called = Names.of(samples)
    found, _ = match_names(pairs, called, called)
    assert samples.looks == 50
    assert found[7] == [int(name[:-4]) for name in pairs["7.jpg"] if name != "7.jpg"]
