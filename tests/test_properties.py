"""What holds for all inputs, not for chosen ones: sound files are read as they are, the rest refused in one way."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mcltool_deepfashion import DeepFashionPlugin
from PIL import Image
from safetensors.numpy import save

from mcltool import Condition, ConditionSpec, McltoolError, UsageError, read_labels, read_photo
from mcltool.core.config import SECTIONS, Config, parse_setting, read_toml, resolve
from mcltool.core.errors import printable
from mcltool.core.files import parse_json
from mcltool.core.weights import FORMAT, WeightsHeader, read_header
from mcltool.data.pack_format import PackHeader
from mcltool.data.pairs import read_pairs
from mcltool.data.pairs import write_pairs as write_lists
from mcltool.translate.manifest import Entry, Journal, read_lines
from mcltool.translate.names import Pairs, check_id, read_list, write_pairs
from mcltool.translate.plan import OutputNames

pytestmark = pytest.mark.slow

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON document."""
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
addresses = st.sampled_from(
    [f"{name}.{key}" for name, kind in SECTIONS.items() for key in kind.__annotations__]
)
file_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", ".."))
"""What a file can be called, names that are no Unicode among them."""
colours = st.tuples(*[st.integers(0, 255)] * 3)


@contextmanager
def file(content: bytes, name: str = "a") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        yield path


# --- settings ---


@given(st.dictionaries(addresses | st.text(max_size=12), values, max_size=5))
def test_settings_make_a_config_that_survives_json_or_are_refused(settings: dict[str, Any]) -> None:
    try:
        config = resolve("shapes", "tiny", settings)
    except UsageError:
        return
    assert Config.from_json(config.to_json()) == config
    for address, value in settings.items():
        found = config.settings()[address]
        assert (list(found) if isinstance(found, tuple) else found) == value


@given(values)
def test_any_json_is_a_config_or_refused(document: Any) -> None:
    with suppress(UsageError, ValueError):
        Config.from_json(json.dumps(document))


@given(st.binary(max_size=200) | texts.map(str.encode))
def test_any_bytes_are_toml_or_refused(content: bytes) -> None:
    with file(content) as path, suppress(UsageError):
        read_toml(path)


@given(addresses, st.integers(-(2**62), 2**62) | st.booleans() | st.floats(-1e9, 1e9) | texts)
def test_a_setting_on_the_command_line_is_its_value(address: str, value: Any) -> None:
    """JSON's texts are TOML's too, but for what the one escapes in pairs and the other does not allow."""
    written = repr(value) if isinstance(value, float) else json.dumps(value)
    assume("\\ud" not in written and "\x7f" not in written)
    assert parse_setting(f"{address}={written}") == (address, value)


# --- weights ---

specs = st.lists(st.tuples(texts, colours), min_size=1, max_size=9).flatmap(
    lambda rows: st.builds(
        ConditionSpec,
        st.just("labels"),
        st.just(tuple(name for name, _ in rows)),
        st.just(tuple(colour for _, colour in rows)),
        st.none() | st.integers(0, len(rows) - 1),
    )
)


@given(specs, texts, texts, st.integers(0, 2**62))
def test_a_header_comes_back_as_it_was_written(
    spec: ConditionSpec, plugin: str, version: str, step: int
) -> None:
    header = WeightsHeader(resolve(plugin, "tiny"), spec, version, step)
    with file(save({}, {FORMAT: json.dumps(header.as_dict())})) as path:
        assert read_header(path) == header


@given(values | st.fixed_dictionaries({"format_version": st.just(1), "config": values, "condition": values}))
def test_any_header_is_read_or_refused(document: Any) -> None:
    with file(save({}, {FORMAT: json.dumps(document)})) as path, pytest.raises(UsageError):
        read_header(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_weights_or_refused(content: bytes) -> None:
    with file(content) as path, pytest.raises(UsageError):
        read_header(path)


@given(values)
def test_any_pack_header_is_refused_in_three_ways(document: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError, OverflowError)):
        PackHeader.from_json(json.dumps(document))


# --- manifests ---

names = st.text(max_size=12)
entries = st.builds(
    Entry,
    names, names, names, st.sampled_from(["ok", "skipped", "failed"]), names, st.integers(0, 2**40), names, names,
    names, st.floats(0, 2e9),
)  # fmt: skip


@given(st.lists(entries, max_size=6), st.integers(0, 400), st.binary(max_size=30))
def test_lines_come_back_whole_whatever_is_cut_off_or_put_behind(
    made: list[Entry], cut: int, dirt: bytes
) -> None:
    with file(b"", "manifest.jsonl") as path:
        with Journal(path) as journal:
            places = [journal.add(entry) for entry in made]
        whole = path.read_bytes()
        assert [(place, entry) for place, entry in read_lines(path)] == list(zip(places, made, strict=True))
        left = whole[: max(0, len(whole) - cut)]
        path.write_bytes(left)
        ends = [place + len(entry.line()) - 1 for place, entry in zip(places, made, strict=True)]
        kept = [entry for end, entry in zip(ends, made, strict=True) if end <= len(left)]
        assert [entry for _, entry in read_lines(path)] == kept
        path.write_bytes(left)
        with Journal(path) as journal:  # a job that goes on begins a line of its own
            journal.add(Entry("x", "x", "x", "ok", "", 1, "", "", "", 1.0))
        assert [entry.input for _, entry in read_lines(path)][-1] == "x"
        path.write_bytes(dirt.replace(b"\n", b"") + b"\n" + whole)
        assert [entry for _, entry in read_lines(path)][-len(made) or 99 :] == made


@given(values)
def test_a_line_that_is_none_of_ours_is_left_out(document: Any) -> None:
    with file(json.dumps(document).encode() + b"\n") as path:
        assert list(read_lines(path)) == []


# --- pairs and names ---


@given(
    st.lists(file_names, min_size=1, max_size=6, unique=True),
    st.lists(file_names, min_size=1, max_size=4, unique=True),
)
def test_pairs_written_are_pairs_read(inputs: list[str], exemplars: list[str]) -> None:
    inputs = [name + ".png" for name in inputs]
    exemplars = [name + ".jpg" for name in exemplars]
    ids = [name[:-4] for name in inputs]
    chosen = [n % len(exemplars) for n in range(len(inputs))]
    with file(b"", "pairs.csv") as path:
        write_pairs(path, ((name, exemplars[e]) for name, e in zip(inputs, chosen, strict=True)))
        found = read_list(path, ids, inputs, exemplars)
    assert found is not None
    assert found[0].tolist() == list(range(len(inputs)))
    assert found[1].tolist() == chosen


@given(st.binary(max_size=200))
def test_any_bytes_are_pairs_or_refused(content: bytes) -> None:
    with file(content) as path:
        for read in (read_pairs, lambda path: read_list(path, ["a"], ["a.png"], ["b.png"])):
            with suppress(UsageError):
                read(path)


plain = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=10)


@given(st.dictionaries(plain, st.lists(plain, min_size=1, max_size=3), min_size=1, max_size=4))
def test_lists_written_are_lists_read(lists: dict[str, list[str]]) -> None:
    assume(not any(name.startswith("\ufeff") for name in lists))
    with file(b"") as path:
        write_lists(path, lists)
        assert read_pairs(path) == lists


@given(
    st.lists(
        st.tuples(file_names, st.sampled_from([".png", ".jpg", ".PNG"])), min_size=1, max_size=8, unique=True
    ),
    st.integers(1, 3),
    st.sampled_from([(), ("warp",), ("warp", "grid")]),
)
def test_outputs_differ_and_lie_below_out(
    made: list[tuple[str, str]], photos: int, extras: tuple[str, ...]
) -> None:
    inputs = [name + suffix for name, suffix in made]
    ids = [name for name, _ in made]
    pairs = (
        np.repeat(np.arange(len(inputs), dtype=np.int32), photos),
        np.tile(np.arange(photos, dtype=np.int32), len(inputs)),
    )
    try:
        outputs = OutputNames(ids, inputs, [f"{n}.jpg" for n in range(photos)], Pairs(*pairs), ".png", extras)
    except UsageError:  # two that collide whatever they are called
        return
    found = [outputs.of(task) for task in range(len(pairs[0]))]
    found += [outputs.of(task, kind) for task in range(len(pairs[0])) for kind in extras]
    assert len(set(found)) == len(found)
    assert all(".." not in PurePosixPath(name).parts and not name.startswith("/") for name in found)


@given(
    st.text(max_size=20)
    | st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "C:", ".mcltool", "\0", "\ud800"])).map(
        "".join
    )
)
def test_an_id_that_is_taken_is_a_file_below_out(name: str) -> None:
    try:
        check_id(name)
    except UsageError:
        return
    path = os.path.normpath(os.path.join(b"/out", os.fsencode(name)))
    assert path.startswith(b"/out/")
    assert not path.startswith(b"/out/.mcltool/")


@given(st.text(st.characters()))
def test_what_is_shown_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


# --- pictures and poses ---


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"RIFF", b"BM", b"GIF89a"]),
)
def test_any_bytes_are_a_picture_or_refused(content: bytes, start: bytes) -> None:
    with file(start + content, "a.png") as path:
        for read in (read_photo, lambda path: read_labels(path, 5)):
            with suppress(McltoolError):
                assert read(path).dtype == np.uint8


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 6)),
    st.integers(1, 7),
)
def test_labels_are_read_as_they_were_written_or_are_outside(labels: np.ndarray, classes: int) -> None:
    coded = BytesIO()
    Image.fromarray(labels).save(coded, "PNG")
    with file(coded.getvalue(), "a.png") as path:
        if labels.max() < classes:
            np.testing.assert_array_equal(read_labels(path, classes), labels)
        else:
            with pytest.raises(McltoolError, match="outside the classes"):
                read_labels(path, classes)


@given(values)
def test_any_json_is_a_pose_or_refused(document: Any) -> None:
    with file(json.dumps(document).encode(), "a.json") as path, pytest.raises(McltoolError):
        DeepFashionPlugin().read_condition([path])


coordinates = st.floats(2, 300, width=32) | st.just(float("nan"))


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=18, max_size=18),
    st.integers(301, 999),
    st.integers(301, 999),
)
def test_a_pose_that_is_written_is_read(rows: list[tuple[float, float]], height: int, width: int) -> None:
    points = np.array(rows, np.float32)
    points[np.isnan(points).any(1)] = np.nan
    known = points[~np.isnan(points).any(1)]
    assume(len(known) > 1 and np.ptp(known, axis=0).max() > 2)  # a pose within two pixels is refused
    with tempfile.TemporaryDirectory() as folder:
        path = DeepFashionPlugin().write_condition(
            Condition((height, width), points=points), Path(folder, "a")
        )
        found = DeepFashionPlugin().read_condition([path])
    assert found.size == (height, width)
    assert found.points is not None
    np.testing.assert_array_equal(found.points, points)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_json_is_read_as_the_library_does_or_refused(content: bytes) -> None:
    try:
        expected = json.loads(content)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            parse_json(content)
    else:
        assert repr(parse_json(content)) == repr(expected)
    with pytest.raises(ValueError, match="too deeply"):
        parse_json("[" * 100_000)
