"""``python -m bench``: the first figures, as Markdown."""

from __future__ import annotations

import argparse
import platform
import sys

from bench import (
    core_events,
    durability,
    replicas,
    requests_per_second,
    simulation,
    stalls,
    streams,
    suites,
    takeover,
)
from bench.rounds import load

PARTS = {
    "suites": suites.table,
    "streams": streams.table,
    "requests": requests_per_second.table,
    "durability": durability.table,
    "replicas": replicas.table,
    "takeover": takeover.table,
    "stalls": stalls.table,
    "core": core_events.table,
    "simulation": simulation.table,
}


def main() -> int:
    """Run the chosen parts; 0."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (default 3)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    machine = f"CPython {platform.python_version()}, {platform.system()} {platform.release()}"
    print(f"{machine}, {load()} at the start.")
    print(f"Medians of {given.rounds} interleaved rounds (lowest to highest);")
    print("ratios are medians of the rounds' ratios.\n")
    for name in given.parts or PARTS:
        print(PARTS[name](given.rounds), flush=True)
    print(f"{load()} at the end.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
