"""How large the house is, and how far a condition and a training sample walk through it.

    python tests/bench/house.py [TREE ...]        (checkouts; default: this one)

Counts lines, modules, classes, options and import circles of mcltool/, and traces two commands, each with few and with
many samples. A module is on the way where calls of one of its functions grow at least as the samples do, a class is a
carrier where its objects do. Those of core and model, which are tools of the way, are listed apart.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

TRACE = """
import collections, json, sys, threading
calls, made = collections.Counter(), collections.Counter()
def count(frame, event, argument):
    if event != "call":
        return
    code, name = frame.f_code, frame.f_globals.get("__name__", "")
    if code.co_argcount and (code.co_name in ("__init__", "__new__") or name.startswith("namedtuple_")):
        first = frame.f_locals.get(code.co_varnames[0])
        owner = first if isinstance(first, type) else type(first)
        if owner.__module__.startswith("mcltool."):
            made[owner.__module__ + "." + owner.__name__] += 1
    elif name.startswith("mcltool.") and code.co_name != "<module>":
        calls[name + " " + code.co_qualname] += 1
from mcltool.__main__ import main
threading.setprofile(count); sys.setprofile(count)
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.setprofile(None); threading.setprofile(None)
    json.dump([calls, made], open("calls.json", "w"))
"""
CONDITIONS = 40, 60
"""More than are read ahead, and than a look for doubtful ones takes."""
STEPS = 1, 4
TINY = ("--preset", "tiny", "--size", "32", "--batch-size", "1", "--workers", "0", "--device", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, default=[Path(__file__).parents[2]])
    for tree in parser.parse_args().trees:
        print(json.dumps({"tree": str(tree)} | size(tree) | ways(tree.resolve()), indent=1))


def size(tree: Path) -> dict[str, object]:
    modules = {module_name(tree, path): path for path in sorted((tree / "mcltool").rglob("*.py"))}
    texts = {name: path.read_text() for name, path in modules.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lengths = {name: text.count("\n") for name, text in texts.items() if text.strip()}
    nodes = [node for parsed in trees.values() for node in ast.walk(parsed)]
    options = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "option"
    ]
    return {
        "lines": sum(lengths.values()),
        "modules": len(lengths),
        "median module": median(lengths.values()),
        "modules over 250 lines": sum(length > 250 for length in lengths.values()),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "top-level names": len({name.split(".")[1] for name in modules if name.count(".")}),
        "options in the source": len(options),
        "import circles": circles(trees),
    }


def module_name(tree: Path, path: Path) -> str:
    return ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")


def circles(trees: dict[str, ast.Module]) -> list[list[str]]:
    """Modules that import one another, in functions too; imports for types alone do not count."""
    imports: dict[str, set[str]] = defaultdict(set)
    for name, parsed in trees.items():
        for node in ast.walk(parsed):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                node.body = []
        for node in ast.walk(parsed):
            if isinstance(node, ast.ImportFrom) and node.module and name != "mcltool":
                targets = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
                imports[name] |= {target for target in targets if target in trees and target != "mcltool"}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = imports[waiting.pop()] - seen
            seen |= new
            waiting.extend(new)
        return seen

    reached = {name: reach(name) for name in trees}
    found = {frozenset(m for m in reached[n] if n in reached[m]) for n in trees if n in reached[n]}
    return sorted(sorted(circle) for circle in found)


def ways(tree: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trace(tree, place, "fit", "--plugin", "shapes", *TINY, "--max-steps", "1", "--run", "runs/first")
        export = ("data", "export-conditions", "--plugin", "shapes", "--size", "64", "--count")
        job = ("--weights", "runs/first/weights.safetensors", "--device", "cpu", "--batch-size", "1")
        quiet = ("--set", "train.validation_samples=0", "--set", "train.sample_every=1000000")
        conditions, samples = [], []
        for count in CONDITIONS:
            trace(tree, place, *export, str(count), f"masks{count}")
            photo = place / "photo.png"
            photo.write_bytes(next((place / f"masks{count}").rglob("*.png")).read_bytes())
            command = ("translate-dir", f"masks{count}", "photo.png", f"out{count}")
            conditions.append(trace(tree, place, *command, *job))
        for count in STEPS:
            fit = ("fit", "--plugin", "shapes", *TINY, "--max-steps", str(count), "--run", f"runs/{count}")
            samples.append(trace(tree, place, *fit, *quiet))
    found: dict[str, object] = {}
    for what, (few, many), counts in (
        ("condition", conditions, CONDITIONS),
        ("training sample", samples, STEPS),
    ):
        added = counts[1] - counts[0]
        calls, made = (
            {name for name in b if b[name] - a[name] >= added} for a, b in zip(few, many, strict=True)
        )
        for kind, names in (("modules", {name.split()[0] for name in calls}), ("carriers", made)):
            tools = {name for name in names if name.startswith(("mcltool.core.", "mcltool.model."))}
            found[f"{kind} on the way of a {what}"] = sorted(names - tools)
            found[f"{kind} of core and model there ({what})"] = sorted(tools)
    return found


def trace(tree: Path, place: Path, *arguments: str) -> tuple[Counter[str], Counter[str]]:
    """Run mcltool of ``tree`` in ``place``; its calls by function, and objects made by class."""
    environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'plugins'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRACE, *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{tree}: mcltool {' '.join(arguments)}\n{done.stderr}")
    calls, made = json.loads((place / "calls.json").read_text())
    return Counter(calls), Counter(made)


if __name__ == "__main__":
    main()
