"""Operations and bytes of each part of presets beside the machine's rates: where there is something to gain.

    python tests/bench/roofline.py [--presets base paper] [--size 256] [--device cuda] [--no-training]

Prints Markdown: GFLOP, MB moved, operations a byte, and the milliseconds that the part cannot do without here.
"""

from __future__ import annotations

import argparse
from typing import Any

from figures import training, translation, whole
from parts import measure_roof

from mcltool.tools.bench.run import the_subject


def show(title: str, parts: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n\n| | GFLOP | MB | operations a byte | floor, ms |\n|---|---|---|---|---|")
    for part in [*parts, whole(parts)]:
        work, moved = part["operations"], part["bytes"]
        numbers = (work / 1e9, moved / 1e6, work / max(1, moved), 1e3 * part["floor"])
        print(f"| {part['name']} | {' | '.join(f'{number:.1f}' for number in numbers)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=["base", "paper"])
    parser.add_argument("--size", type=int)
    parser.add_argument("--device")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--training", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    size = (options.size, options.size) if options.size else None
    for preset in options.presets:
        subject = the_subject(preset, size, options.device, options.precision, batch=1)
        roof = measure_roof(subject.device)
        for form, rate in roof.machine.matrix.items():
            copies = ", ".join(f"{n >> 20} MiB {r / 1e9:.0f}" for n, r in roof.copy[form].items())
            convolution = roof.machine.convolution[form]
            print(
                f"{form}: product {rate / 1e9:.0f} GFLOP/s, convolution {convolution / 1e9:.0f} GFLOP/s, "
                f"copies in GB/s: {copies}"
            )
        show(f"{preset}, translating, {subject.precision}", translation(subject, roof, 0)["parts"])
        if options.training:
            show(f"{preset}, a training step", training(subject, roof, 0)["parts"])


if __name__ == "__main__":
    main()
