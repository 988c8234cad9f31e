"""Draw every surrogate and its primitive, for docs/design.md.

    python benchmarks/surrogates.py

Writes benchmarks/results/surrogates.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cuslayer as cs

PICTURE = Path(__file__).parent / "results" / "surrogates.png"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw every surrogate and its primitive.")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture")
    cs.plot.surrogates()[0].figure.savefig(parser.parse_args(arguments).out, dpi=110)


if __name__ == "__main__":
    main()
