#!/usr/bin/env bash
# Builds the sdist, a wheel of that, installs it in an environment of its own and does what a newcomer does.
#
# $PYTHON (default: python) has hatchling and what mcltool depends on. The new environment sees that one's packages through
# a .pth file, so that torch, several GB, is not loaded again. That pip finds the dependencies is therefore not checked
# here: tox's environment "tests" installs the wheel with them.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH PYTHONHOME

say() { printf '\n== %s\n' "$*"; }

say "sdist, and the wheel that it makes"
"$python" -m hatchling build --target sdist --directory "$work/dist"
tar -xzf "$work"/dist/*.tar.gz -C "$work"
(cd "$work"/mcltool-*/ && "$python" -m hatchling build --target wheel --directory "$work/dist")
ls -l "$work/dist"

say "installed in an environment of its own"
"$python" -m venv --without-pip "$work/venv"
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
own=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "import site; site.addsitedir('$packages')" > "$own/dependencies.pth"
"$work/venv/bin/python" -m pip install --quiet --no-index --no-deps --ignore-installed --disable-pip-version-check \
    "$work"/dist/*.whl
export PATH="$work/venv/bin:$PATH"
mkdir "$work/empty" && cd "$work/empty"
python - "$own" <<'EOF'
import sys
from importlib.metadata import version
from pathlib import Path

import mcltool

assert Path(mcltool.__file__).is_relative_to(sys.argv[1]), mcltool.__file__
assert version("mcltool") == mcltool.__version__, "pyproject.toml and mcltool/__init__.py name two versions"
print(f"mcltool {mcltool.__version__} from the wheel")
EOF

say "what a newcomer does"
mcltool doctor
mcltool demo --pretrained
mcltool translate-dir demo/conditions demo/exemplars/pair-000.png out/ --weights shapes
test -s demo/contact_sheet.png
say "all is well"
