"""``mcltool explain``: the numbers behind the picture, the picture, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from mcltool_shapes import ShapesPlugin
from PIL import Image
from safetensors.torch import load_file
from tiny_weights import make_weights
from torch import Tensor

from mcltool import Condition, ConditionFiles, ConditionSpec, UsageError, translate_images
from mcltool.cli.main import cli
from mcltool.core.pictures import GAP
from mcltool.core.weights import load_model, read_header, save_weights
from mcltool.model.correspondence import from_patches, patches
from mcltool.model.network import MCLNet
from mcltool.tools.explain import explain, read_one, spread_positions
from mcltool.tools.explain_view import CELL, View, look

SPEC = ShapesPlugin().spec


@pytest.fixture(scope="module", params=["tiny", "base"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base looks its condition's labels up in an embedding; tiny takes the planes."""
    path = tmp_path_factory.mktemp(request.param) / "weights.safetensors"
    return make_weights(path, preset=request.param)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """mask.png of 64 x 128 pixels (height x width): class 1 left, 2 right; photo.png of 80 x 40."""
    labels = np.ones((64, 128), np.uint8)
    labels[:, 64:] = 2
    Image.fromarray(labels).save(tmp_path / "mask.png")
    photo = np.random.default_rng(0).integers(0, 256, (80, 40, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    weights: Path | None, *args: str, names: Sequence[str] = ("mask.png", "photo.png", "seen.png")
) -> Result:
    given = ["--weights", str(weights)] if weights else []
    return CliRunner().invoke(cli, ["explain", *names, *given, "--device", "cpu", *args])


# --- The numbers ---


@pytest.fixture(scope="module")
def pair(weights: Path) -> tuple[MCLNet, Tensor, Tensor, View]:
    net, _ = load_model(weights)
    torch.manual_seed(1)
    X = F.one_hot(torch.randint(0, 6, (1, 32, 64)), 6).permute(0, 3, 1, 2).float()
    Z = torch.rand(1, 3, 64, 32) * 2 - 1
    return net, X, Z, look(net, X, Z)


def test_attention_is_the_softmax_that_warps_the_exemplar(pair: tuple[MCLNet, Tensor, Tensor, View]) -> None:
    net, X, Z, view = pair
    u, v = net.condition_features(X)[0], net.photo_features(Z)[0]
    T = (u @ v.T / net.temperature).softmax(1)
    maps = np.stack([view.attention(i) for i in range(8 * 16)])
    assert maps.shape == (8 * 16, 16, 8)
    np.testing.assert_allclose(maps.reshape(len(T), -1), T, atol=1e-5)
    np.testing.assert_allclose(view.confidence(), T.amax(1).reshape(8, 16), atol=1e-5)
    warped = from_patches(torch.from_numpy(maps.reshape(1, len(T), -1)) @ patches(Z), (8, 16))
    assert (warped - net(X, Z).warped).abs().max() < 1e-4


def test_self_correlation_is_a_row_of_the_map_of_all_pairs(pair: tuple[MCLNet, Tensor, Tensor, View]) -> None:
    net, X, Z, view = pair
    features = (
        (net.encode_condition(net.embed_condition(X)), view.self_correlation),
        (net.encode_photo(Z), view.match_self_correlation),
    )
    for x, row in features:
        x_NC = x[0].flatten(1).T
        centred = x_NC - x_NC.mean(1, keepdim=True)
        M = F.cosine_similarity(centred[:, None], centred[None], dim=2)
        for position in (0, 37, 127):
            np.testing.assert_allclose(row(position), M[position].reshape(x.shape[2:]), atol=1e-5)


def test_the_result_is_what_translate_dir_makes(weights: Path, work: Path) -> None:
    results = translate_images(
        [work / "mask.png"], work / "photo.png", weights, precision="fp32", device="cpu"
    )
    made = next(results).image
    assert made is not None
    assert explain(work / "mask.png", work / "photo.png", work / "seen.png", weights, device="cpu")
    sheet = np.asarray(Image.open(work / "seen.png"))
    enlarged = np.repeat(np.repeat(made, CELL // 32, 0), CELL // 32, 1)  # 32 x 64 pixels
    left = 3 * GAP + 3 * (2 * CELL + 3 * GAP)  # the fourth picture
    below = (sheet[top : top + CELL, left : left + 2 * CELL] for top in range(64))
    gaps = [int(np.abs(window.astype(int) - enlarged).max()) for window in below]
    assert (
        sum(gap <= 1 for gap in gaps) == 1
    )  # its convolutions are laid out otherwise: the last bit may differ


def test_a_spot_says_where_it_is_and_where_its_match_is(weights: Path, work: Path) -> None:
    spots = explain(
        work / "mask.png", work / "photo.png", work / "seen.png", weights, [(70, 10), (3, 60)], device="cpu"
    )
    # The network sees 32 x 64 pixels of the mask, whose positions are 8 pixels wide and high in the file.
    assert [(spot.x, spot.y, spot.name) for spot in spots] == [
        (68, 12, SPEC.names[2]),
        (4, 60, SPEC.names[1]),
    ]
    for spot in spots:
        assert 0 <= spot.match_x < 40
        assert 0 <= spot.match_y < 80
        assert -1 <= spot.cosine <= 1
        assert 0 < spot.probability <= 1


def test_matches_in_a_large_jpeg_are_in_its_own_pixels(weights: Path, work: Path) -> None:
    """It is decoded at a fraction of its size."""
    Image.open("photo.png").resize((400, 800)).save("photo.jpg", quality=95)
    at = [(x, y) for x in range(4, 128, 40) for y in range(4, 64, 20)]
    spots = explain(work / "mask.png", work / "photo.jpg", work / "seen.png", weights, at, device="cpu")
    assert max(spot.match_y for spot in spots) > 400


# --- Which positions ---


def planes(rows: Sequence[str]) -> Tensor:
    """(6, H, W) one-hot; a digit is a position of 4 x 4 pixels."""
    labels = torch.tensor([[int(digit) for digit in row] for row in rows])
    return F.one_hot(labels, 6).permute(2, 0, 1).float().repeat_interleave(4, 1).repeat_interleave(4, 2)


LAYOUT = ["00000000", "01110000", "01110220", "01110220", "00000220", "00000000", "30000000", "33000000"]


def test_positions_are_in_the_middle_of_the_classes() -> None:
    chosen = spread_positions(planes(LAYOUT), SPEC, 4)
    assert len(set(chosen)) == 4
    classes = [LAYOUT[p // 8][p % 8] for p in chosen]
    assert sorted(classes) == ["0", "1", "2", "3"]
    assert chosen[classes.index("1")] == 2 * 8 + 2  # the very middle of 3 x 3


def test_further_positions_are_far_from_the_others() -> None:
    chosen = spread_positions(planes(["1" * 8] * 8), SPEC, 5)
    assert len(set(chosen)) == 5
    corners = {0, 7, 56, 63}
    assert corners < set(chosen)


def test_the_unknown_class_is_looked_at_last() -> None:
    spec = ConditionSpec("labels", SPEC.names, SPEC.palette, unknown=0)
    chosen = spread_positions(planes(LAYOUT), spec, 8)
    assert all(LAYOUT[p // 8][p % 8] != "0" for p in chosen)
    nothing = spread_positions(planes(["0" * 8] * 8), spec, 5)
    assert len(set(nothing)) == 5


def test_positions_of_channels_are_where_something_is() -> None:
    spec = ConditionSpec("channels", ("edges", "joint"), ((0, 0, 0),) * 2)
    drawn = torch.zeros(2, 32, 32)
    drawn[0, 8, :] = 1
    drawn[1, 29:31, 2] = 1
    chosen = spread_positions(drawn, spec, 4)
    assert len(set(chosen)) == 4
    assert 7 * 8 + 0 in chosen
    assert all(p // 8 == 2 or p == 56 for p in chosen)


# --- The picture and the command ---


def test_the_command_draws_one_picture_and_prints_a_line_a_position(weights: Path, work: Path) -> None:
    result = run(weights)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 6
    assert all("->" in line and "cosine" in line and "probability" in line for line in lines[:5])
    assert lines[-1] == "look at seen.png"
    assert sorted(path.name for path in work.iterdir()) == ["mask.png", "photo.png", "seen.png"]
    with Image.open("seen.png") as sheet:
        assert sheet.width > 4 * 2 * CELL + CELL // 2  # conditions of twice the width in all columns but one
        assert sheet.height > 4 * CELL


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_places_can_be_asked_for(count: int, weights: Path, work: Path) -> None:
    at = [word for number in range(count) for word in ("--at", f"{5 + 10 * number},20")]
    result = run(weights, *at)
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == count + 1
    with Image.open("seen.png") as sheet:
        assert sheet.width > max(count, 5) * CELL


def test_the_newest_runs_weights_are_taken_where_none_are_named(weights: Path, work: Path) -> None:
    path = work / "runs" / "shapes-1" / "weights.safetensors"
    save_weights(path, load_file(weights), read_header(weights))
    result = run(None)
    assert result.exit_code == 0, result.output
    assert f"weights: {path}" in result.output


class Poses(ShapesPlugin):
    """Conditions of two files each, and several in a file."""

    def conditions(self, folder: Path) -> Iterator[ConditionFiles]:
        for part in ("one", "two"):
            yield ConditionFiles(part, (folder / "a.txt", folder / "b.txt"), part)

    def read_part(self, files: Sequence[Path], part: str) -> Condition:
        assert [file.name for file in files] == ["a.txt", "b.txt"]
        return Condition((1, 1 + ["one", "two"].index(part)))


def test_a_file_of_several_conditions_gives_the_first_or_the_part_that_is_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    assert read_one(Poses(), tmp_path / "b.txt", "").size == (1, 1)
    assert read_one(Poses(), tmp_path / "b.txt", "two").size == (1, 2)


# --- What is refused ---


def assert_refused(result: Result, code: int, cause: str) -> None:
    assert result.exit_code == code, result.output
    assert len(result.output.splitlines()) == 1
    assert cause in result.output
    assert not Path("seen.png").exists()


@pytest.mark.parametrize(
    ("at", "cause"),
    [
        ("128,10", "--at 128,10: outside the condition, which is 128 x 64 pixels"),
        ("10,64", "--at 10,64: outside the condition"),
        ("-1,3", "--at -1,3: outside the condition"),
        ("10", "--at 10: expected X,Y in whole pixels"),
        ("10,20,30", "--at 10,20,30: expected X,Y"),
        ("a,b", "--at a,b: expected X,Y"),
    ],
)
def test_places_that_are_not_in_the_condition(at: str, cause: str, weights: Path, work: Path) -> None:
    assert_refused(run(weights, "--at", at), 2, cause)


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (("none.png", "photo.png", "seen.png"), "none.png: no such file"),
        (("mask.png", "none.png", "seen.png"), "none.png: no such file"),
        (("mask.png", "photo.png", "seen.jpg"), "seen.jpg: expected the name of a .png file"),
        (("mask.png", "photo.png", "."), ".: expected the name of a .png file"),
        (("mask.png", "photo.png", "mask.png"), "mask.png: is one of the inputs"),
        (("mask.png", "photo.png", "../{}/photo.png"), "photo.png: is one of the inputs"),
    ],
)
def test_files_that_are_not_there_or_in_the_way(
    names: tuple[str, str, str], cause: str, weights: Path, work: Path
) -> None:
    before = (work / "mask.png").read_bytes(), (work / "photo.png").read_bytes()
    names = (names[0], names[1], names[2].format(work.name))
    assert_refused(run(weights, names=names), 2, cause)
    assert ((work / "mask.png").read_bytes(), (work / "photo.png").read_bytes()) == before


@pytest.mark.parametrize("name", ["mask.png", "photo.png"])
def test_pictures_that_do_not_fit(name: str, weights: Path, work: Path) -> None:
    Image.fromarray(np.zeros((10, 100), np.uint8)).save(name)
    assert_refused(run(weights), 1, f"{name}: 100 x 10 pixels: expected at most 8 times as long as wide")
    Path(name).write_bytes(b"text")
    assert_refused(run(weights), 1, f"{name}: not an image that can be read")


def test_labels_outside_the_classes(weights: Path, work: Path) -> None:
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save("mask.png")
    assert_refused(run(weights), 1, "mask.png: label 9 is outside the classes 0..5")


def changed(weights: Path, name: str, value: Any) -> Path:
    """A copy of the weights with one tensor exchanged."""
    tensors = load_file(weights)
    assert name in tensors
    tensors[name] = value(tensors[name])
    path = Path("changed.safetensors").absolute()
    save_weights(path, tensors, read_header(weights))
    return path


def test_weights_of_another_grid_or_architecture(weights: Path, work: Path) -> None:
    scm = "correspondence.scm.weight"
    path = changed(weights, scm, lambda tensor: torch.zeros(4, 16, 16))
    assert_refused(run(path), 2, f"{path}: does not fit the model its header describes: {scm} is 4x16x16")
    path = changed(weights, "generator.to_image.weight", lambda tensor: tensor[:, :4].clone())
    assert_refused(run(path), 2, "generator.to_image.weight is 3x4x3x3 float32 instead of 3x8x3x3")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(value: float, weights: Path, work: Path) -> None:
    name = "encode_photo.stem.bias"
    path = changed(weights, name, lambda tensor: tensor.index_fill(0, torch.tensor([3]), value))
    assert_refused(run(path), 2, f"{path}: {name} has values that are not finite")


def test_an_error_before_the_work_is_done_writes_nothing(weights: Path, work: Path) -> None:
    with pytest.raises(UsageError):
        explain(work / "mask.png", work / "photo.png", work / "new" / "seen.png", weights, [(999, 0)])
    assert not (work / "new").exists()
