"""Pretrained networks and models by name: from a server on this machine, an index or a file, never the network."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor
from torchvision.models import AlexNet_Weights, VGG19_Weights

from mcltool.cli.main import cli
from mcltool.core.errors import UsageError
from mcltool.core.index import find_entry, shipped_folder
from mcltool.core.pretrained import NETWORKS, Network, is_official, load_tensors, load_vgg, vgg_file
from mcltool.model.vgg import VGGFeatures

Tensors = dict[str, Tensor]


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Made-up weights by the names of torchvision's file, with some of the many that are not needed."""
    torch.manual_seed(0)
    needed = {name: torch.rand_like(tensor) / 100 for name, tensor in VGGFeatures().state_dict().items()}
    return needed | {
        "features.34.weight": torch.zeros(512, 512, 3, 3),
        "classifier.6.bias": torch.zeros(1000),
    }


@pytest.fixture(scope="module")
def file(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights in the format of torchvision's official file, which is older than today's."""
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[str]:
    """The address of a server with the file, whole and in bad shapes."""
    content, over = file.read_bytes(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/none.pth":
                self.send_error(404)
                return
            self.send_response(200)
            if self.path != "/unsized.pth":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path == "/stalls.pth":
                over.wait()
            self.wfile.write(content[: 3_000_000 if self.path == "/cut.pth" else None])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        over.set()
        running.shutdown()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def published(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the made-up file were the one whose checksum is published."""
    ship(monkeypatch, file, sha256=hashlib.sha256(file.read_bytes()).hexdigest()[:8])


def ship(monkeypatch: pytest.MonkeyPatch, file: Path, **changes: str) -> None:
    """Have mcltool come with an index whose entry for VGG-19 is changed so."""
    index = json.loads((shipped_folder() / "index.json").read_text())
    index["vgg19"] |= changes
    (file.parent / "index.json").write_text(json.dumps(index))
    monkeypatch.setattr("mcltool.core.index.shipped_folder", lambda: file.parent)


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


def assert_loads_as(path: Path, tensors: Tensors) -> None:
    for name, tensor in load_vgg(path).state_dict().items():
        assert torch.equal(tensor, tensors[name])


def test_weights_live_in_mcltool_home_or_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", "/here")
    assert vgg_file() == Path("/here/weights/vgg19-features.safetensors")
    monkeypatch.delenv("MCLTOOL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert vgg_file() == Path("/cache/mcltool/weights/vgg19-features.safetensors")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert vgg_file() == Path.home() / ".cache/mcltool/weights/vgg19-features.safetensors"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_checksum_is_the_one_in_the_official_files_name(name: str) -> None:
    entry = find_entry(name)
    assert entry.url.startswith("https://")
    assert entry.url.endswith(f"-{entry.sha256}.pth")


def test_the_index_has_torchvisions_own_addresses() -> None:
    assert find_entry("vgg19").url == VGG19_Weights.IMAGENET1K_V1.url
    assert find_entry("alexnet").url == AlexNet_Weights.IMAGENET1K_V1.url


@pytest.mark.slow
@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["good.pth", "unsized.pth"])
def test_get_downloads_checks_and_converts(name: str, server: str, home: Path, tensors: Tensors) -> None:
    """With a server that says how long the file is, and one that does not."""
    result = run("weights", "get", "vgg19", "--url", f"{server}/{name}")
    assert result.exit_code == 0, result.output
    assert f"downloading {server}/{name}" in result.output
    assert result.output.endswith(f"weights: {vgg_file()}\n")
    assert files_below(home) == ["vgg19-features.safetensors"]
    assert_loads_as(vgg_file(), tensors)


@pytest.mark.slow
def test_get_takes_the_official_address_by_itself(
    server: str, file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    ship(monkeypatch, file, url=f"{server}/official.pth", sha256=digest)
    assert f"{server}/official.pth" in run("weights", "get", "vgg19").output
    assert vgg_file().exists()


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_what_is_there_is_kept_and_what_is_damaged_is_got_anew(
    server: str, home: Path, tensors: Tensors
) -> None:
    vgg_file().parent.mkdir(parents=True)
    vgg_file().write_bytes(b"cut off")
    assert run("weights", "get", "vgg19", "--url", f"{server}/good.pth").exit_code == 0
    assert_loads_as(vgg_file(), tensors)
    again = run("weights", "get", "vgg19", "--url", f"{server}/none.pth")  # would fail if it asked the server
    assert (again.exit_code, again.output) == (0, f"weights: {vgg_file()}\n")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("good.pth", 1, ["not the file that was published", "expected dcbb9e9d", "--url"]),
        ("cut.pth", 1, ["cut off", "try again"]),
        ("none.pth", 1, ["the server answers 404", "--url"]),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(
    name: str, code: int, words: list[str], server: str, home: Path
) -> None:
    result = run("weights", "get", "vgg19", "--url", f"{server}/{name}")
    assert_refused(result, code, f"{server}/{name}: ", *words)
    assert files_below(home) == []


def test_a_server_that_stops_answering_is_given_up(
    server: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcltool.core.index.TIMEOUT", 0.2)
    assert_refused(
        run("weights", "get", "vgg19", "--url", f"{server}/stalls.pth"), 1, "timed out", "try again"
    )
    assert files_below(home) == []


def test_a_server_that_is_not_there(home: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    result = run("weights", "get", "vgg19", "--url", f"http://127.0.0.1:{port}/vgg19.pth")
    assert_refused(result, 1, "cannot be downloaded", "refused")
    assert files_below(home) == []


@pytest.mark.parametrize("url", ["vgg19.pth", "file:///etc/passwd", "ftp://host/vgg19.pth"])
def test_an_address_that_is_none(url: str, home: Path) -> None:
    assert_refused(run("weights", "get", "vgg19", "--url", url), 2, url, "https://")
    assert files_below(home) == []


def test_a_home_that_cannot_be_written(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    assert_refused(run("weights", "get", "vgg19", "--url", f"{server}/good.pth"), 1, "cannot be written")


@pytest.mark.slow
@pytest.mark.parametrize("new_format", [False, True])
def test_convert_reads_a_file_on_disk(new_format: bool, tensors: Tensors, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=new_format)
    result = run("weights", "convert", str(path))
    assert (result.exit_code, result.output) == (0, f"weights: {vgg_file()}\n")
    assert_loads_as(vgg_file(), tensors)


def made_up(network: Network) -> Tensors:
    """Weights of the shapes that must be there, with one more."""
    torch.manual_seed(0)
    return {name: torch.rand(shape) for name, shape in network.shapes().items()} | {"more": torch.ones(2)}


@pytest.mark.parametrize("name", ["alexnet", "inception"])
def test_convert_tells_the_networks_of_metrics_apart(name: str, home: Path, tmp_path: Path) -> None:
    """Inception is kept whole; of AlexNet, as of VGG-19, what is looked through."""
    tensors = made_up(NETWORKS[name])
    path = tmp_path / "some.pth"
    torch.save(tensors, path)
    with pytest.raises(UsageError, match=rf"missing; get it with 'mcltool weights get {name}', or .*\.pth"):
        load_tensors(name)
    result = run("weights", "convert", str(path))
    assert (result.exit_code, result.output) == (0, f"weights: {NETWORKS[name].path}\n")
    found = load_tensors(name)
    assert set(found) == set(tensors) - (set() if name == "inception" else {"more"})
    assert all(torch.equal(found[key], tensors[key]) for key in found)
    assert not is_official(name)


@pytest.mark.usefixtures("published")
def test_what_the_official_file_made_is_known_as_such(file: Path, home: Path) -> None:
    assert run("weights", "convert", str(file)).exit_code == 0
    assert is_official("vgg19")


def test_convert_writes_where_it_is_told_to(file: Path, tensors: Tensors, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "vgg.safetensors"
    assert run("weights", "convert", str(file), "--out", str(out)).exit_code == 0
    assert_loads_as(out, tensors)
    assert not home.exists()


class Evil:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def without(name: str) -> Callable[[Tensors], Any]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without("features.16.weight"), "not torchvision's VGG-19 weights: features.16.weight is missing"),
        (lambda t: t | {"features.0.bias": torch.zeros(32)}, "features.0.bias is 32 instead of 64"),
        (lambda t: t | {"features.0.bias": "text"}, "features.0.bias is missing"),
        (
            lambda t: t | {"features.2.bias": torch.full((64,), torch.nan)},
            "features.2.bias has values that are",
        ),
        (lambda t: list(t.values()), "expected torchvision's VGG-19 weights by name, found list"),
    ],
)
def test_convert_refuses_other_weights(
    change: Callable[[Tensors], Any], cause: str, tensors: Tensors, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(change(tensors), path)
    assert_refused(run("weights", "convert", str(path)), 1, f"{path}: ", cause)
    assert not home.exists()


@pytest.mark.parametrize("new_format", [False, True])
def test_convert_refuses_what_is_cut_off_or_no_weights_file(
    new_format: bool, tensors: Tensors, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=new_format)
    for content in (path.read_bytes()[:-2_000_000], path.read_bytes()[:50], b"", b"<html>not found</html>"):
        path.write_bytes(content)
        assert_refused(
            run("weights", "convert", str(path)), 1, f"{path}: cut off, or not a PyTorch weights file"
        )
    assert not home.exists()


def test_convert_runs_no_code_of_the_files(home: Path, tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "mark"
    torch.save({"features.0.weight": Evil(mark)}, path)
    assert_refused(run("weights", "convert", str(path)), 1, f"{path}: cut off, or not a PyTorch weights file")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_convert_of_no_file(name: str, home: Path, tmp_path: Path) -> None:
    result = run("weights", "convert", str(tmp_path / name))
    assert_refused(result, 2, str(tmp_path / name), "expected a .pth file")


@pytest.mark.slow
def test_fit_finds_the_converted_weights(
    file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = (
        "fit --plugin shapes --perceptual vgg --max-steps 1 --batch-size 1 --workers 0 --device cpu --run r"
    )
    settings = ["--set", "train.generator_start=0", "--set", "loss.perc=1", "--precision", "fp32"]
    missing = run(*command.split(), *settings)
    assert_refused(missing, 2, str(vgg_file()), "'mcltool weights get vgg19'", "--perceptual none")
    assert not (tmp_path / "r").exists()

    assert run("weights", "convert", str(file)).exit_code == 0
    result = run(*command.split(), *settings)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "r" / "config.json").read_text())["train"]["perceptual"] == "vgg"
    row = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["loss_perc"] > 0
    assert row["loss_ctx"] > 0
