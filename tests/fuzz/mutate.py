"""Changing files at random: bytes of any, and the structure of those whose structure would stop other changes."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any
from zlib import crc32

Files = dict[str, bytes]
"""What a reader is given: contents by name, "/" between folders."""

WORDS = (
    "null", "true", "-1", "0", "1", "1.5", "1e999", "-1e308", "NaN", "Infinity", "-Infinity", "1e-320", "65536",
    "2147483648", "4294967296", "18446744073709551616", "1" + "0" * 400, "1" * 5000, '""', '"\\ud800"',
    '"\\u0000"', '"../../x"', '"/etc/passwd"', '"C:\\\\x"', '"\\u202egnp.x"', '"' + "x" * 300 + '"', "[]", "{}",
    "[[1]]", '{"a": 1}', "[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300,
)  # fmt: skip
"""Values in JSON that readers may not expect."""
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MARK = "\ue000mark\ue000"
MOST_BYTES = 1 << 20


def mutated(files: Files, chance: Random, others: Sequence[Files]) -> Files:
    """One to four changes; now and then a file is missing or another's."""
    changed = dict(files)
    for _ in range(chance.choice((1, 1, 2, 4))):
        name = chance.choice(list(changed))
        if chance.random() < 0.02:
            changed[name] = b"" if len(changed) == 1 else changed[chance.choice(list(changed))]
        elif chance.random() < 0.02 and len(changed) > 1:
            del changed[name]
        else:
            change = chance.choice(_changes_of(name))
            other = chance.choice(others)
            changed[name] = change(changed[name], chance, other.get(name, b"other"))[:MOST_BYTES]
    return changed


Change = Callable[[bytes, Random, bytes], bytes]


def _changes_of(name: str) -> tuple[Change, ...]:
    suffix = name.rpartition(".")[2]
    own: dict[str, tuple[Change, ...]] = {
        "json": (_json, _json, _json, _tokens),
        "jsonl": (_json_line, _json_line, _tokens, _lines),
        "toml": (_tokens, _tokens, _lines),
        "csv": (_tokens, _lines),
        "txt": (_tokens, _tokens, _lines),
        "png": (_png_chunk,),
        "safetensors": (_safetensors, _safetensors, _safetensors),
    }
    return (*own.get(suffix, ()), _flip, _overwrite, _cut, _repeat, _splice)


def _flip(data: bytes, chance: Random, other: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 3, 16))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, chance: Random, other: bytes) -> bytes:
    """A number of 1 to 8 bytes that is at the edge of something."""
    form = chance.choice(("<B", ">H", "<H", ">I", "<I", "<Q"))
    size = struct.calcsize(form)
    number = chance.choice(_NUMBERS) & (1 << 8 * size) - 1
    place = chance.randrange(max(1, len(data)))
    return data[:place] + struct.pack(form, number) + data[place + size :]


def _cut(data: bytes, chance: Random, other: bytes) -> bytes:
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice((data[:a], data[a:], data[:a] + data[b:]))


def _repeat(data: bytes, chance: Random, other: bytes) -> bytes:
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:a] + data[a:b] * chance.choice((2, 2, 50)) + data[b:]


def _splice(data: bytes, chance: Random, other: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _json(data: bytes, chance: Random, other: bytes) -> bytes:
    """One value of a JSON document changed, put in, or left out."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _tokens(data, chance, other)
    word = chance.choice(WORDS)
    if not isinstance(document, dict | list) or not document or chance.random() < 0.03:
        return word.encode()
    place: Any = document
    while True:
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.25:
            break
        place = inner
    kind = chance.random()
    if kind < 0.15:
        del place[key]
    elif kind < 0.25:
        place[key] = [inner] * chance.choice((0, 1, 2, 300))
    elif kind < 0.35 and isinstance(place, dict):
        place[chance.choice(("", "x", "..", "\0", "id", "__class__"))] = _MARK
    elif kind < 0.45 and isinstance(inner, int | float) and abs(inner) < 1e200:
        place[key] = inner * chance.choice((-1, 2, 0.5, 1e6, 1e20))
    else:
        place[key] = _MARK
    return json.dumps(document).replace(json.dumps(_MARK), word).encode()


def _json_line(data: bytes, chance: Random, other: bytes) -> bytes:
    lines = data.split(b"\n")
    number = chance.randrange(len(lines))
    lines[number] = _json(lines[number], chance, other)
    return b"\n".join(lines)


def _tokens(data: bytes, chance: Random, other: bytes) -> bytes:
    """A word or number of a text, another in its place."""
    found = list(re.finditer(rb"[^\s,=\[\]{}:]+", data))
    if not found:
        return chance.choice(WORDS).encode()
    token = chance.choice(found)
    word = chance.choice((chance.choice(WORDS).strip('"').encode(), chance.choice(found)[0], b"\xff\xfe\x00"))
    return data[: token.start()] + word + data[token.end() :]


def _lines(data: bytes, chance: Random, other: bytes) -> bytes:
    lines = data.split(b"\n")
    chance.shuffle(lines) if chance.random() < 0.3 else lines.insert(
        chance.randrange(len(lines) + 1), chance.choice(lines)
    )
    return b"\n".join(lines)


def _png_chunk(data: bytes, chance: Random, other: bytes) -> bytes:
    """A byte or length in one chunk, with the checksum that goes with it: else no reader looks further."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return _flip(data, chance, other)
    number = chance.randrange(len(chunks))
    kind, body = chunks[number]
    chunks[number] = (kind, chance.choice((_flip, _overwrite, _cut))(body, chance, other))
    if chance.random() < 0.2:
        chunks.insert(number, chunks[number])
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))
        for kind, body in chunks
    )


def _safetensors(data: bytes, chance: Random, other: bytes) -> bytes:
    """The header changed, and its length with it; its one entry of ours is JSON in JSON."""
    length = int.from_bytes(data[:8], "little")
    header, tensors = data[8 : 8 + length], data[8 + length :]
    try:
        document = json.loads(header)
        ours = document["__metadata__"]["mcltool-weights"]
        if chance.random() < 0.75:
            document["__metadata__"]["mcltool-weights"] = _json(ours.encode(), chance, other).decode()
            header = json.dumps(document).encode()
        else:
            header = _json(header, chance, other)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        header = _flip(header, chance, other)
    return len(header).to_bytes(8, "little") + header + tensors


def digest(files: Files) -> str:
    """A short name for what is in files."""
    found = hashlib.sha256()
    for name, data in sorted(files.items()):
        found.update(f"{name}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:10]
