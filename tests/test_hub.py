"""Weights on the Hugging Face Hub: the real huggingface_hub client against a stand-in of the hub on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hub_stand_in import TOKEN, Hub, serving
from tiny_weights import make_weights
from translating import make_condition, make_photo

from mcltool.cli.main import cli
from mcltool.core.errors import McltoolError, UsageError
from mcltool.core.hub import check_push, fetch_weights, push, repository_of
from mcltool.core.lookup import find_weights

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the repository lab/gardens, and a client with an empty cache that is logged in there."""
    from huggingface_hub import constants

    with serving(Hub()) as running:
        settings = {
            "ENDPOINT": running.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": running.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        running.commit("lab/gardens", published(tmp_path / "model.safetensors"))
        yield running


def published(path: Path, seed: int = 0) -> dict[str, bytes]:
    data = make_weights(path, seed=seed).read_bytes()
    sums = f"{hashlib.sha256(data).hexdigest()}  model.safetensors\n"
    return {"model.safetensors": data, "SHA256SUMS": sums.encode()}


def show(name: str) -> Result:
    return CliRunner().invoke(cli, ["weights", "show", name])


def test_weights_are_fetched_by_name_once(hub: Hub) -> None:
    path = find_weights("hf://lab/gardens")
    assert (
        path.read_bytes() == hub.commits["lab/gardens"][hub.refs["lab/gardens"]["main"]]["model.safetensors"]
    )
    assert repository_of(path) == f"hf://lab/gardens@{hub.refs['lab/gardens']['main']}"
    assert show("hf://lab/gardens").exit_code == 0
    assert find_weights("hf://lab/gardens") == path


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, tmp_path: Path) -> None:
    first = hub.refs["lab/gardens"]["main"]
    second = hub.commit("lab/gardens", published(tmp_path / "second.safetensors", seed=1))
    assert repository_of(fetch_weights("hf://lab/gardens")) == f"hf://lab/gardens@{second}"
    old = fetch_weights(f"hf://lab/gardens@{first}")
    assert old.read_bytes() == hub.commits["lab/gardens"][first]["model.safetensors"]


def test_a_job_goes_on_with_the_commit_that_it_was_begun_with(hub: Hub, tmp_path: Path) -> None:
    """A branch that moves in between would make a folder of two models' pictures."""
    make_condition(tmp_path / "masks" / "1.png")
    make_photo(tmp_path / "photo.png")

    def translate_dir(name: str) -> str:
        places = [str(tmp_path / name) for name in ("masks", "photo.png", "out")]
        options = ["--weights", name, "--precision", "fp32", "--device", "cpu"]
        result = CliRunner().invoke(cli, ["translate-dir", *places, *options])
        assert result.exit_code == 0, result.output
        return str(json.loads((tmp_path / "out" / "job.json").read_text())["weights_file"])

    first = hub.refs["lab/gardens"]["main"]
    assert translate_dir("hf://lab/gardens") == f"hf://lab/gardens@{first}"
    hub.commit("lab/gardens", published(tmp_path / "second.safetensors", seed=1))
    assert translate_dir("hf://lab/gardens") == f"hf://lab/gardens@{first}"
    assert translate_dir("hf://lab/gardens@main") != f"hf://lab/gardens@{first}"


def test_a_cut_download_goes_on_where_it_was_cut(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # else such a small file comes in one piece
    hub.cut = 1000
    path = fetch_weights("hf://lab/gardens")
    assert hub.ranges == ["bytes=1000-"]
    assert (
        path.read_bytes() == hub.commits["lab/gardens"][hub.refs["lab/gardens"]["main"]]["model.safetensors"]
    )


def test_a_wrong_checksum_is_refused_and_not_kept(hub: Hub) -> None:
    hub.corrupt = True
    with pytest.raises(
        McltoolError, match=r"hf://lab/gardens: model.safetensors is not the file .* try again"
    ):
        fetch_weights("hf://lab/gardens")
    hub.corrupt = False
    assert fetch_weights("hf://lab/gardens").is_file()


def test_without_a_network_the_cache_serves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    path = fetch_weights("hf://lab/gardens")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_weights("hf://lab/gardens") == path
    result = show("hf://lab/meadows")
    assert result.exit_code == 1
    assert "not in the cache, and the hub cannot be reached" in result.output


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("hf://lab/meadows", "no such repository"),
        ("hf://lab/gardens@none", "no such revision"),
        ("hf://gardens", "expected hf://ORG/NAME"),
        ("hf://lab/empty", "has no model.safetensors"),
    ],
)
def test_a_name_that_does_not_exist_is_one_line(hub: Hub, name: str, cause: str) -> None:
    hub.commit("lab/empty", {"README.md": b"#"})
    result = show(name)
    assert result.exit_code == 2
    assert result.output.startswith(f"mcltool: {name}: {cause}")
    assert result.output.count("\n") == 1


def test_a_folder_is_pushed_as_one_commit(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in published(folder / "model.safetensors").items():
        (folder / name).write_bytes(data)
    (folder / "README.md").write_text("# Meadows\n")
    check_push("lab/meadows")
    address = push(folder, "lab/meadows")
    commit = hub.refs["lab/meadows"]["main"]
    assert address == f"{hub.url}/lab/meadows/commit/{commit}"
    assert hub.commits["lab/meadows"][commit] == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert fetch_weights("hf://lab/meadows").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_what_publish_pushes_is_found_by_its_name(hub: Hub, tmp_path: Path) -> None:
    weights = make_weights(tmp_path / "w.safetensors", seed=2)
    args = ["publish", str(weights), str(tmp_path / "out"), "--license", "mit", "--push", "lab/meadows"]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    assert f"{hub.url}/lab/meadows/commit/{hub.refs['lab/meadows']['main']}\n" in result.output
    assert find_weights("hf://lab/meadows").read_bytes() == weights.read_bytes()
    card = hub.commits["lab/meadows"][hub.refs["lab/meadows"]["main"]]["README.md"].decode()
    assert "# meadows" in card
    assert "--weights hf://lab/meadows" in card


def test_publish_without_a_token_writes_nothing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    weights = make_weights(tmp_path / "w.safetensors")
    result = CliRunner().invoke(
        cli, ["publish", str(weights), str(tmp_path / "out"), "--push", "lab/meadows"]
    )
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "no token for the hub" in result.output
    assert not (tmp_path / "out").exists()


def test_a_push_without_a_token_or_with_a_wrong_one_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(McltoolError, match="--push lab/meadows: "):
        push(tmp_path, "lab/meadows")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        UsageError, match="--push: no token for the hub; run 'hf auth login', or set HF_TOKEN"
    ):
        check_push("lab/meadows")


def test_a_published_card_passes_the_hubs_validation(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub's own ModelCard.validate, which asks the hub; here the stand-in. A broken card does not pass."""
    from huggingface_hub import ModelCard

    weights = make_weights(tmp_path / "w.safetensors")
    result = CliRunner().invoke(cli, ["publish", str(weights), str(tmp_path / "out"), "--license", "mit"])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "README.md").read_text()
    ModelCard(text).validate()
    assert hub.cards == [text]
    with pytest.raises(ValueError, match="license: expected str"):
        ModelCard(text.replace("license: mit", "license: [mit]")).validate()
