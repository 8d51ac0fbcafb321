"""Weights by name from an index: mcltool's own, and others'."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_weights import make_weights
from torch import Tensor

from mcltool.cli.main import cli
from mcltool.core.index import shipped_folder

Tensors = dict[str, Tensor]


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def assert_refused(result: Result, code: int, *words: str) -> None:
    """One line, after the one that says what is downloaded, with all of ``words``."""
    *before, line = result.output.splitlines()
    assert result.exit_code == code, result.output
    assert line.startswith("mcltool: ")
    assert all(other.startswith("downloading http") for other in before)
    for word in words:
        assert word in line


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of an index with one model, on a server with the folder tmp_path/web."""
    (tmp_path / "web").mkdir()
    file = make_weights(tmp_path / "web" / "gardens.safetensors")
    write_index(tmp_path, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/index.json"
        running.shutdown()


def write_index(folder: Path, **changes: Any) -> None:
    entry = {
        "url": "gardens.safetensors", "megabytes": 0.1, "sha256": "0" * 64, "license": "CC0-1.0", "card": "gardens.md"
    }  # fmt: skip
    (folder / "web" / "index.json").write_text(json.dumps({"gardens": entry | changes}))


def test_list_shows_names_sizes_and_licences() -> None:
    lines = run("weights", "list").output.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["shapes", "10.6", "Apache-2.0"],
        ["clothing", "11.1", "Apache-2.0"],
        ["vgg19", "575", "BSD-3-Clause"],
        ["alexnet", "244", "BSD-3-Clause"],
        ["inception", "95", "Apache-2.0"],
    ]


def test_the_shipped_model_is_got_without_a_download(home: Path) -> None:
    result = run("weights", "get", "shapes")
    assert (result.exit_code, result.output) == (0, f"weights: {shipped_folder() / 'shapes.safetensors'}\n")
    assert not home.exists()


def test_a_model_is_got_from_another_index_by_its_name(index: str, home: Path, tmp_path: Path) -> None:
    """The index on a server or in a file, its addresses relative to itself; what is there is not got again."""
    got = home / "weights" / "gardens.safetensors"
    result = run("weights", "get", "gardens", "--index", index)
    assert result.output == (
        f"downloading {index.removesuffix('index.json')}gardens.safetensors\nweights: {got}\n"
    )
    assert got.read_bytes() == (tmp_path / "web" / "gardens.safetensors").read_bytes()
    assert run("weights", "get", "gardens", "--index", index).output == f"weights: {got}\n"
    got.unlink()
    assert run("weights", "get", "gardens", "--index", str(tmp_path / "web" / "index.json")).exit_code == 0
    assert files_below(home) == ["gardens.safetensors"]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, 1, ["not the file that was published", "expected 00000000"]),
        ({"url": "none.safetensors"}, 1, ["404"]),
        ({"sha256": "what"}, 2, ["not an index of weights", "gardens: sha256", "'what'"]),
        ({"sha256": 5}, 2, ["not an index of weights", "text"]),
        ({"more": 1}, 2, ["not an index of weights", "gardens: expected url, megabytes"]),
        ({"url": "file:///etc/passwd"}, 2, ["file:///etc/passwd", "https://"]),
    ],
)
def test_what_is_wrong_with_an_index_or_its_file_is_one_line(
    changes: dict[str, Any], code: int, words: list[str], index: str, home: Path, tmp_path: Path
) -> None:
    write_index(tmp_path, **changes)
    assert_refused(run("weights", "get", "gardens", "--index", index), code, *words)
    assert files_below(home) == []


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"gardens": 3}', '{"../x": {}}'])
def test_an_index_that_is_none(text: str, index: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "web" / "index.json").write_text(text)
    for source in (index, str(tmp_path / "web" / "index.json")):
        assert_refused(
            run("weights", "get", "gardens", "--index", source), 2, source, "not an index of weights"
        )
    assert not home.exists()


def test_a_name_or_an_index_that_does_not_exist(home: Path) -> None:
    assert_refused(
        run("weights", "get", "vgg9"), 2, "no weights 'vgg9'", "(did you mean vgg19?)", "inception"
    )
    assert_refused(run("weights", "get", "vgg19", "--index", "none.json"), 2, "none.json", "cannot be read")


def test_a_model_that_is_not_mcltools_is_refused(index: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "web" / "gardens.safetensors").write_bytes(b"weights, honestly")
    write_index(tmp_path, sha256=hashlib.sha256(b"weights, honestly").hexdigest())
    assert_refused(run("weights", "get", "gardens", "--index", index), 2, "not a .safetensors file")
    assert files_below(home) == []
