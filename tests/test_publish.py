"""mcltool publish: a folder that hubs understand and mcltool loads, and its model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_weights import make_weights
from translating import make_condition, make_photo

import mcltool.tools.publish as publishing
from mcltool.cli.main import cli
from mcltool.core.files import digest
from mcltool.core.hub import WEIGHTS
from mcltool.core.weights import FORMAT, load_model, read_header
from mcltool.evaluate.metrics import Score
from mcltool.evaluate.scores import Scores


def publish(*args: object) -> Result:
    return CliRunner().invoke(cli, ["publish", *map(str, args)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with weights and scores of them."""
    weights = make_weights(tmp_path / "run" / "weights.safetensors")
    scores = Scores(
        {"weights_sha256": digest(weights)}, {"psnr": Score(21.5, 8, 20.0, 23.0), "swd": Score(9.0, 8)}
    )
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "scores.json").write_text(scores.to_json())
    return tmp_path / "run"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for number in range(2):
        make_condition(tmp_path / "samples" / "conditions" / f"{number}.png")
        make_photo(tmp_path / "samples" / "exemplars" / f"{number}.png", seed=number)
    return tmp_path / "samples"


def front_matter(folder: Path) -> dict[str, object]:
    _, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(front)
    assert isinstance(found, dict)
    return found


def test_the_folder_has_the_weights_as_they_are_and_checksums(
    run: Path, samples: Path, tmp_path: Path
) -> None:
    out = tmp_path / "gardens"
    result = publish(run, out, "--samples", samples, "--license", "cc-by-4.0")
    assert (result.exit_code, result.output) == (
        0, f"{out}: README.md, SHA256SUMS, config.json, model.safetensors, samples.png\n"
    )  # fmt: skip
    assert (out / "model.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "config.json", "samples.png")
    }
    header = read_header(out / "model.safetensors")
    assert json.loads((out / "config.json").read_text()).items() >= header.as_dict().items()
    assert CliRunner().invoke(cli, ["weights", "show", str(out)]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_weights_in_16_bits_take_half_the_place_and_load_as_they_were_rounded(
    run: Path, tmp_path: Path
) -> None:
    assert publish(run, tmp_path / "gardens", "--half").exit_code == 0
    whole, half = (load_file(path) for path in (run / "weights.safetensors", tmp_path / "gardens" / WEIGHTS))
    assert sum(t.nbytes for t in whole.values()) == 2 * sum(t.nbytes for t in half.values())
    assert read_header(tmp_path / "gardens" / WEIGHTS) == read_header(run / "weights.safetensors")
    loaded = load_model(tmp_path / "gardens" / WEIGHTS)[0].state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=2**-11, atol=2**-25)  # float16 keeps 11 bits


def test_other_programs_find_modelspec_entries(run: Path) -> None:
    with safe_open(run / "weights.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["modelspec.sai_model_spec"] == "1.0.0"
    assert metadata["modelspec.architecture"] == "mcl-net"
    assert metadata["modelspec.resolution"] == "32x32"
    assert metadata["modelspec.title"] == "shapes, tiny, 32x32"


def test_weights_of_the_last_release_get_the_entries_they_lack(run: Path, tmp_path: Path) -> None:
    weights, header = run / "weights.safetensors", read_header(run / "weights.safetensors")
    tensors = load_file(weights)
    save_file(tensors, weights, {FORMAT: json.dumps(header.as_dict())})
    assert publish(run, tmp_path / "out").exit_code == 0
    published = tmp_path / "out" / "model.safetensors"
    assert read_header(published) == header
    assert all((load_file(published)[name] == tensor).all() for name, tensor in tensors.items())
    with safe_open(published, framework="numpy") as file:
        assert file.metadata()["modelspec.architecture"] == "mcl-net"


def test_the_card_says_what_hubs_and_people_look_for(run: Path, tmp_path: Path) -> None:
    assert publish(run, tmp_path / "gardens", "--license", "cc-by-4.0").exit_code == 0
    front = front_matter(tmp_path / "gardens")
    assert front["library_name"] == "mcltool"
    assert (front["pipeline_tag"], front["license"], front["datasets"]) == (
        "image-to-image",
        "cc-by-4.0",
        ["shapes"],
    )
    text = (tmp_path / "gardens" / "README.md").read_text()
    condition = read_header(run / "weights.safetensors").condition
    for name, colour in zip(condition.names, condition.palette, strict=True):
        assert f"| {name}" in text
        assert "`#{:02x}{:02x}{:02x}`".format(*colour) in text
    assert "| PSNR (dB) | higher | 21.50 | 20.00 to 23.00 |" in text
    assert digest(tmp_path / "gardens" / "model.safetensors") in text
    assert "{{" not in text


def test_the_card_passes_the_hubs_own_checks(run: Path, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    assert publish(run, tmp_path / "gardens", "--license", "cc-by-4.0").exit_code == 0
    card = huggingface_hub.ModelCard.load(tmp_path / "gardens" / "README.md")  # raises for a bad model-index
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {"psnr": 21.5, "swd": 9.0}
    assert card.data.model_name == "gardens"


def test_scores_of_other_weights_are_left_out(run: Path, tmp_path: Path) -> None:
    make_weights(run / "weights.safetensors", seed=1)
    result = publish(run, tmp_path / "out", "--license", "mit")
    assert "of other weights, and left out" in result.output
    assert "model-index" not in front_matter(tmp_path / "out")
    assert "Not evaluated" in (tmp_path / "out" / "README.md").read_text()


def test_what_the_card_cannot_say_is_said(run: Path, tmp_path: Path) -> None:
    assert "the card says: license: unknown (--license ID)" in publish(run, tmp_path / "out").output


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["nothing", "out"], 2, "nothing: no weights file, run folder or name"),
        (["samples", "out"], 2, "samples: no weights file, run folder or name"),
        (["run", "samples"], 2, "samples: already exists"),
        (["run", "out", "--samples", "run"], 2, "run/conditions: "),
        (["run", "out", "--push", "gardens"], 2, "expected hf://ORG/NAME"),
    ],
)
def test_bad_requests_are_one_line_and_nothing_is_written(
    args: list[str], code: int, words: str, run: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "hf://" in words:
        pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(run.parent)
    result = publish(*args)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert result.output.count("\n") == 1
    assert sorted(path.name for path in run.parent.iterdir()) == ["run", "samples"]


def test_samples_of_a_plugin_that_is_not_installed_are_one_line(samples: Path, tmp_path: Path) -> None:
    """Without samples the plugin is not needed: the header says all that the card does."""
    weights = make_weights(tmp_path / "w.safetensors", plugin="gone")
    result = publish(weights, tmp_path / "out", "--samples", samples)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "gone" in result.output
    assert not (tmp_path / "out").exists()
    assert publish(weights, tmp_path / "out").exit_code == 0


def test_a_folder_is_there_as_a_whole_or_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing.Card, "render", full_disk)
    assert publish(run, tmp_path / "out").exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
