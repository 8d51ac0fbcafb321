"""How large the house is, and how far a sample walks through it.

    python tests/bench/house.py [TREE ...]        (checkouts; default: this one)

Counts lines, modules, classes, options and import circles of mcltool/, and traces two commands. A module is on the way
of a condition where one of its functions is called more often for three conditions than for one (of a training sample:
for three steps than for one).
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

TRACE = """
import collections, json, sys, threading
calls = collections.Counter()
def count(frame, event, argument):
    if event == "call":
        name = frame.f_globals.get("__name__", "")
        if name.startswith("mcltool."):
            calls[name, frame.f_code.co_qualname] += 1
from mcltool.__main__ import main
threading.setprofile(count); sys.setprofile(count)
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.setprofile(None); threading.setprofile(None)
    json.dump([[m, f, n] for (m, f), n in calls.items()], open("calls.json", "w"))
"""
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
        command(tree, place, "fit", "--plugin", "shapes", *TINY, "--max-steps", "1", "--run", "runs/first")
        traced: dict[str, list[dict[tuple[str, str], int]]] = {"condition": [], "training sample": []}
        for count in (1, 3):
            masks = f"masks{count}"
            export = (
                "data",
                "export-conditions",
                "--plugin",
                "shapes",
                "--count",
                str(count),
                "--size",
                "64",
            )
            command(tree, place, *export, masks)
            photos = place / "photos"
            photos.mkdir(exist_ok=True)
            (photos / "a.png").write_bytes(next((place / masks).rglob("*.png")).read_bytes())
            job = (
                "translate-dir",
                masks,
                "photos",
                f"out{count}",
                "--weights",
                "runs/first/weights.safetensors",
            )
            traced["condition"].append(command(tree, place, *job, "--device", "cpu"))
            fit = ("fit", "--plugin", "shapes", *TINY, "--max-steps", str(count), "--run", f"runs/{count}")
            quiet = ("--set", "train.validation_samples=0", "--set", "train.sample_every=1000000")
            traced["training sample"].append(command(tree, place, *fit, *quiet))
    found: dict[str, object] = {}
    for what, (few, many) in traced.items():
        on_the_way = sorted({module for (module, name), n in many.items() if n > few.get((module, name), 0)})
        rooms = [m for m in on_the_way if not m.startswith(("mcltool.core.", "mcltool.model."))]
        found[f"modules on the way of a {what}"] = len(on_the_way)
        found[f"of these neither core nor model ({what})"] = rooms
    return found


def command(tree: Path, place: Path, *arguments: str) -> dict[tuple[str, str], int]:
    """Run mcltool of ``tree`` in ``place``; calls by module and function."""
    environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'plugins'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRACE, *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{tree}: mcltool {' '.join(arguments)}\n{done.stderr}")
    return {(module, name): n for module, name, n in json.loads((place / "calls.json").read_text())}


if __name__ == "__main__":
    main()
