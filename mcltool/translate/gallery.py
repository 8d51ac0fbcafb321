"""OUT/index.html: what a directory job has made, to browse. One file, nothing fetched."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool.core.errors import DataError, printable
from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.data.batch import condition_picture
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.job import Job
from mcltool.translate.manifest import Entry, manifests, read_lines
from mcltool.translate.plan import Plan, Task
from mcltool.translate.reader import Preparer
from mcltool.translate.run import Run

NAME = "index.html"
MOST_PICTURES = 240
"""Larger jobs show so many, evenly spread: each takes about 12 KB of the page."""
MOST_FAILURES = 200
THUMBNAIL = 224
"""Longest side in pixels."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --soft: #8882; }}
body {{ font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 90rem; }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere; margin: 0 0 .25rem; }}
p {{ margin: 0 0 1rem; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1rem;
  list-style: none; margin: 0; padding: 0; }}
.cards > li {{ border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; display: flex;
  flex-direction: column; }}
.result {{ display: block; background: var(--soft); }}
.result:focus-visible {{ outline: 3px solid #3b82f6; outline-offset: -3px; }}
.result img {{ display: block; width: 100%; height: 13rem; object-fit: contain; }}
.sources {{ display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; padding: .5rem; font-size: .8rem; }}
.sources figure {{ margin: 0; }}
.sources img {{ display: block; width: 100%; height: 5.5rem; object-fit: contain; background: var(--soft); }}
.sources figcaption {{ overflow-wrap: anywhere; padding-top: .25rem; }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; }}
td, th {{ border-top: 1px solid var(--line); padding: .35rem .5rem .35rem 0; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
<main>
<ul class="cards">
{cards}
</ul>
{failures}
</main>
<script>
// Arrow keys go from result to result; Enter opens one.
const results = [...document.querySelectorAll(".result")];
document.addEventListener("keydown", event => {{
  const step = {{ ArrowRight: 1, ArrowLeft: -1 }}[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  const here = results.indexOf(document.activeElement);
  const next = results[here < 0 ? 0 : Math.min(results.length - 1, Math.max(0, here + step))];
  if (next) {{ next.focus(); event.preventDefault(); }}
}});
</script>
</html>
"""
_CARD = """<li>
<a class="result" href="{href}"><img loading="lazy" src="{result}" alt="Output for {input}"></a>
<div class="sources">
<figure><img loading="lazy" src="{condition}" alt="Condition {input}">
<figcaption><b>Condition</b> {input}</figcaption></figure>
{exemplars}
</div>
</li>"""


def write_gallery(run: Run) -> Path:
    """Write the gallery of a run's output folder; returns its path."""
    out, total = run.job.out, len(run.plan)
    shown = [card for task in _shown(run.plan) if (card := _card(run.job, task))]
    failed = list(_failed(out))
    some = (
        f"{len(shown)} of {total} images, evenly spread" if total > MOST_PICTURES else f"{len(shown)} images"
    )
    page = _PAGE.format(
        title=_text(os.fspath(out)),
        summary=f"{some}; {len(failed)}{'+' if len(failed) == MOST_FAILURES else ''} failed. "
        "Select a picture to open it; the arrow keys go from one to the next.",
        cards="\n".join(shown),
        failures=_failure_table(failed),
    )
    write_text(out / NAME, page)
    return out / NAME


def _shown(plan: Plan) -> Iterator[Task]:
    step = -(-len(plan) // MOST_PICTURES)
    for place, number in enumerate(plan.in_order()):
        if place % step == 0:
            yield plan[number]


def _card(job: Job, task: Task) -> str:
    """Nothing where there is no result."""
    try:
        result = read_photo(job.out / task.output, THUMBNAIL)
    except DataError:
        return ""
    return _CARD.format(
        href=quote(os.fsencode(task.output)),
        result=_data_url(result),
        condition=_condition(job.plugin, task),
        exemplars="\n".join(_exemplars(job, task)),
        input=_text(task.input),
    )


def _exemplars(job: Job, task: Task) -> Iterator[str]:
    """Of several that act together each with its weight and place."""
    for photo, exemplar in zip(task.photos, task.exemplars, strict=True):
        name = _text(exemplar.label(os.path.relpath(photo, job.exemplars.folder)))
        yield (
            f'<figure><img loading="lazy" src="{_exemplar(photo)}" alt="Exemplar {name}">\n'
            f"<figcaption><b>Exemplar</b> {name}</figcaption></figure>"
        )


def _condition(plugin: DatasetPlugin, task: Task) -> str:
    read = Preparer(plugin, THUMBNAIL).condition(task.files, task.part)
    if read.planes is None:
        return ""
    planes = read.planes if read.planes.ndim == 2 else read.planes.transpose(1, 2, 0)
    return _data_url(condition_picture(planes, plugin.spec))


@lru_cache(64)
def _exemplar(photo: str) -> str:
    try:
        return _data_url(read_photo(Path(photo), THUMBNAIL))
    except DataError:
        return ""


def _data_url(picture: NDArray[np.uint8]) -> str:
    scale = min(1.0, THUMBNAIL / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    buffer = BytesIO()
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    Image.fromarray(small).save(buffer, "jpeg", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _failed(out: Path) -> Iterator[Entry]:
    count = 0
    for path in manifests(out):
        for _, entry in read_lines(path):
            if entry.status == "failed" and count < MOST_FAILURES:
                count += 1
                yield entry


def _failure_table(failed: list[Entry]) -> str:
    if not failed:
        return ""
    rows = "\n".join(f"<tr><td>{_text(entry.input)}<td>{_text(entry.cause)}" for entry in failed)
    return f"<h2>Failed</h2>\n<table><tr><th>Input<th>Cause\n{rows}\n</table>"


def _text(name: str) -> str:
    return escape(printable(name))
