"""report.html: one file with the scores, how they spread over the images, and the best and worst images."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.evaluate.inputs import Inputs
from mcltool.evaluate.metrics import number_of
from mcltool.evaluate.scores import Scores, interval_text, number_text

SHOWN = 6
"""Best images of each metric, and worst."""
SIDE = 256
"""Long side in pixels of the pictures in the report, at most."""
BINS = 30

Picture = NDArray[np.uint8]
ConditionPicture = Callable[[str], Picture | None]
"""The picture of a condition by the output's name; None where there is none."""


def write_report(path: Path, scores: Scores, inputs: Inputs, condition: ConditionPicture) -> None:
    """Write the report of ``scores``, which are of the files ``inputs``. It needs no other file."""
    keys = [key for key in _image_keys(scores) if scores.scores[key].count]
    parts = [_head(scores), _table(scores), _remarks(scores)]
    parts += [_section(key, scores, inputs, condition, number == 0) for number, key in enumerate(keys)]
    title = f"Scores of {scores.about['out']}"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body><main>\n"
    )
    write_text(path, page + "\n".join(parts) + "\n</main></body></html>\n")


def ranked(scores: Scores, key: str) -> list[str]:
    """The names of the images that have a score ``key``, the best first; of equal ones in the order of names."""
    known = {name: row[key] for name, row in scores.images.items() if not math.isnan(row.get(key, math.nan))}
    sign = -1 if number_of(key).better == "higher" else 1
    return sorted(known, key=lambda name: (sign * known[name], name))


def _image_keys(scores: Scores) -> list[str]:
    """What images are ranked by; the layers of semantic are in its mean."""
    known = {key for row in scores.images.values() for key in row if not key.startswith("semantic_")}
    return [key for key in scores.scores if key in known]


def _head(scores: Scores) -> str:
    about = scores.about
    rows = {"outputs": f"{about['out']} ({about['outputs']} images)"}
    if about["real"]:
        rows["real photos"] = f"{about['real']} ({about['real_images']} images)"
    rows |= {name: about[name] for name in ("exemplars", "weights", "data set") if about.get(name)}
    size = "x".join(map(str, about["size"])) + " pixels" if about["size"] else "the files' own size"
    rows["compared at"] = size + (f", as JPEG of quality {about['jpeg']}" if about["jpeg"] else "")
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows.items())
    return f"<h1>Scores</h1>\n<dl>{items}</dl>"


def _table(scores: Scores) -> str:
    rows = []
    for key, score in scores.scores.items():
        number = number_of(key)
        about = escape(number.what + (f"; {score.note}" if score.note else ""))
        rows.append(
            f"<tr><th>{_title(key)}<small>{about}</small></th><td class=value>{number_text(score.value)}</td>"
            f"<td>{interval_text(score)}</td><td>{score.count}</td></tr>"
        )
    head = "<tr><th>metric</th><th>value</th><th>95% interval</th><th>images</th></tr>"
    legend = "<p class=soft>↑ higher is better, ↓ lower is better</p>"
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>{legend}"


def _title(key: str) -> str:
    number = number_of(key)
    return f"{escape(number.title)}&nbsp;{'↑' if number.better == 'higher' else '↓'}"


def _remarks(scores: Scores) -> str:
    parts = [f"<p class=warning>{escape(text)}</p>" for text in scores.warnings]
    if scores.not_run:
        items = "".join(f"<li><b>{escape(n)}</b>: {escape(why)}</li>" for n, why in scores.not_run.items())
        parts.append(
            f"<details><summary>{len(scores.not_run)} metrics were not run</summary><ul>{items}</ul></details>"
        )
    return "\n".join(parts)


def _section(key: str, scores: Scores, inputs: Inputs, condition: ConditionPicture, opened: bool) -> str:
    order = ranked(scores, key)
    half = min(SHOWN, len(order) // 2) or 1
    groups = {"Worst": order[::-1][:half]} | ({"Best": order[:half]} if len(order) > 1 else {})
    body = [_histogram(np.array([scores.images[name][key] for name in order]))]
    for title, names in groups.items():
        cards = "".join(_card(name, scores.images[name][key], inputs, condition) for name in names)
        body.append(f"<h3>{title}</h3><div class=cards>{cards}</div>")
    attribute = " open" if opened else ""
    return (
        f"<details{attribute} id={key}><summary>Best and worst by {_title(key)}</summary>"
        f"{''.join(body)}</details>"
    )


def _card(name: str, value: float, inputs: Inputs, condition: ConditionPicture) -> str:
    pictures: dict[str, Picture | None] = {"condition": condition(name)}
    sources: Mapping[str, Mapping[str, Path]] = {
        "exemplar": inputs.exemplars, "output": inputs.outputs, "truth": inputs.reals
    }  # fmt: skip
    pictures |= {role: read_photo(files[name], SIDE) for role, files in sources.items() if name in files}
    figures = "".join(
        f'<figure><img src="{_data(picture)}" alt="{role} of {escape(name)}"><figcaption>{role}</figcaption></figure>'
        for role, picture in pictures.items()
        if picture is not None
    )
    score = number_text(value if math.isfinite(value) else None)
    return f"<article><h4><span>{escape(name)}</span><b>{score}</b></h4><div class=strip>{figures}</div></article>"


def _data(picture: Picture) -> str:
    """The picture in the page: exact where it is small, as a JPEG of SIDE pixels where it is large."""
    image = Image.fromarray(picture)
    kind = "PNG" if max(image.size) <= SIDE // 2 else "JPEG"
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _histogram(values: NDArray[np.float64]) -> str:
    """How many images have which score."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    counts, edges = np.histogram(known, BINS)
    bars = "".join(
        f"<rect x={10 * i} y={60 * (1 - n / counts.max()):.1f} width=9 height={60 * n / counts.max():.1f} />"
        for i, n in enumerate(counts)
    )
    low, high = number_text(float(edges[0])), number_text(float(edges[-1]))
    return (
        f'<div class=histogram><svg viewBox="0 0 {10 * BINS} 60" preserveAspectRatio=none role=img '
        f'aria-label="how many images have which score">{bars}</svg>'
        f"<p><span>{low}</span><span>{len(known)} images</span><span>{high}</span></p></div>"
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d22; --soft: #666a75; --paper: #fff; --line: #dcdfe6; --bar: #4a72b8;
  --warn: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ee; --soft: #a0a4b0; --paper: #1a1b22; --line: #363946;
  --bar: #7da2e0; --warn: #4a3c14; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h3 { margin: 1rem 0 .4rem; font-size: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0 0 1rem; }
dt, .soft { color: var(--soft); } .soft { font-size: .8rem; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  font-weight: normal; }
tr:first-child th { color: var(--soft); white-space: nowrap; } td { white-space: nowrap; }
td.value { font-weight: 600; font-variant-numeric: tabular-nums; } small { display: block; color: var(--soft); }
.warning { background: var(--warn); padding: .5rem .8rem; border-radius: 6px; }
details { border-bottom: 1px solid var(--line); padding: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
li { overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: .8rem; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }
h4 { display: flex; justify-content: space-between; gap: 1rem; margin: 0 0 .4rem; font-weight: normal; }
h4 span { overflow-wrap: anywhere; }
.strip { display: grid; grid-template-columns: repeat(auto-fit, minmax(72px, 1fr)); gap: .4rem; }
figure { margin: 0; } img { width: 100%; display: block; border-radius: 3px; }
figcaption { color: var(--soft); font-size: .75rem; text-align: center; }
.histogram { max-width: 500px; margin: .6rem 0; } svg { width: 100%; height: 60px; fill: var(--bar); display: block; }
.histogram p { display: flex; justify-content: space-between; margin: 0; color: var(--soft); font-size: .8rem; }
@media (max-width: 600px) { th small, tr > :nth-child(4) { display: none; } }
"""
