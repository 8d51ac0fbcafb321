"""report.html: one file with the scores, how they spread over the images, and the best and worst images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.core.pictures import embedded, page
from mcltool.evaluate.folders import Picture
from mcltool.evaluate.inputs import Inputs
from mcltool.evaluate.metrics import Number, number_of
from mcltool.evaluate.scores import Scores, interval_text, number_text

SHOWN = 6
"""Best images of each metric, and worst."""
SIDE = 256
"""Long side in pixels of the pictures in the report, at most."""
BINS = 30


def write_report(path: Path, scores: Scores, inputs: Inputs) -> None:
    """Write the report of ``scores``, which are of the files ``inputs``. It needs no other file."""
    rows = [
        {
            "number": number_of(key),
            "score": score,
            "value": number_text(score.value),
            "interval": interval_text(score),
        }
        for key, score in scores.scores.items()
    ]
    keys = [key for key in _image_keys(scores) if scores.scores[key].count]
    sections = [_section(key, scores, inputs) for key in keys]
    values = {"scores": scores, "facts": _facts(scores), "rows": rows, "sections": sections}
    write_text(path, page("scores", title=_title, **values))


def ranked(scores: Scores, key: str) -> list[str]:
    """The names of the images that have a score ``key``, the best first; of equal ones in the order of names."""
    known = {name: row[key] for name, row in scores.images.items() if not math.isnan(row.get(key, math.nan))}
    sign = -1 if number_of(key).better == "higher" else 1
    return sorted(known, key=lambda name: (sign * known[name], name))


def _image_keys(scores: Scores) -> list[str]:
    """What images are ranked by; the layers of semantic are in its mean."""
    known = {key for row in scores.images.values() for key in row if not key.startswith("semantic_")}
    return [key for key in scores.scores if key in known]


def _facts(scores: Scores) -> dict[str, str]:
    about = scores.about
    facts = {"outputs": f"{about['out']} ({about['outputs']} images)"}
    if about["real"]:
        facts["real photos"] = f"{about['real']} ({about['real_images']} images)"
    facts |= {name: str(about[name]) for name in ("exemplars", "weights", "data set") if about.get(name)}
    size = "x".join(map(str, about["size"])) + " pixels" if about["size"] else "the files' own size"
    return facts | {"compared at": size + (f", as JPEG of quality {about['jpeg']}" if about["jpeg"] else "")}


def _title(number: Number) -> str:
    return f"{number.title}\xa0{'↑' if number.better == 'higher' else '↓'}"


def _section(key: str, scores: Scores, inputs: Inputs) -> dict[str, Any]:
    """What the page shows of the images' scores ``key``."""
    order = ranked(scores, key)
    half = min(SHOWN, len(order) // 2) or 1
    groups = {"Worst": order[::-1][:half]} | ({"Best": order[:half]} if len(order) > 1 else {})
    values = np.array([scores.images[name][key] for name in order])
    known = values[np.isfinite(values)]
    counts, edges = np.histogram(known, BINS)
    return {
        "key": key,
        "number": number_of(key),
        "groups": {
            heading: [_card(name, scores.images[name][key], inputs) for name in names]
            for heading, names in groups.items()
        },
        "bars": (60 * counts / counts.max()).tolist() if len(known) else [],
        "known": len(known),
        "low": number_text(float(edges[0])),
        "high": number_text(float(edges[-1])),
    }


def _card(name: str, value: float, inputs: Inputs) -> dict[str, Any]:
    pictures: dict[str, Picture | None] = {"condition": inputs.conditions.picture(name)}
    for number, exemplar in enumerate(inputs.exemplars.get(name, ()), 1):
        role = "exemplar" if number == 1 else f"exemplar {number}"
        pictures[role] = read_photo(Path(exemplar.path), SIDE)
    files = {"output": inputs.outputs, "truth": inputs.reals}
    pictures |= {role: read_photo(of[name], SIDE) for role, of in files.items() if name in of}
    return {
        "name": name,
        "score": number_text(value if math.isfinite(value) else None),
        "pictures": {
            role: embedded(picture, SIDE) for role, picture in pictures.items() if picture is not None
        },
    }
