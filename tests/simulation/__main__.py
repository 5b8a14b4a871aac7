"""``python -m tests.simulation --seeds 2000``: run seeds; tell the story of the first that fails."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.seeds import SHARE, Kind, Totals, kind_of, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run (default 2000)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its story")
    parser.add_argument(
        "--only",
        choices=("replicas", "nodes"),
        help=f"one kind of run for every seed (otherwise every {SHARE}th is one of whole nodes)",
    )
    parser.add_argument("--keep-going", action="store_true", help="count the failures instead of stopping")
    options = parser.parse_args()
    if options.seed is not None:
        return tell(options.seed, options.only or kind_of(options.seed))
    began = time.process_time()
    totals, failed = Totals(), []
    for seed in range(options.first, options.first + options.seeds):
        kind = options.only or kind_of(seed)
        try:
            totals.add(play(seed, kind))
        except (AssertionError, ValueError) as error:
            failed.append(seed)
            print(f"seed {seed} ({kind}): {str(error).splitlines()[0]}", flush=True)
            if not options.keep_going:
                return tell(seed, kind)
    took = time.process_time() - began
    print(f"{options.seeds} seeds, {len(failed)} failed, {options.seeds / took:.0f} seeds/s; {totals}")
    return 1 if failed else 0


def tell(seed: int, kind: Kind) -> int:
    """Replay one seed with its story."""
    story: list[str] = []
    try:
        play(seed, kind, story)
    except (AssertionError, ValueError) as error:
        print("\n".join(story))
        print(f"seed {seed} fails: {type(error).__name__}: {error}")
        print(f"replay: python -m tests.simulation --only {kind} --seed {seed}")
        return 1
    print("\n".join(story))
    print(f"seed {seed} passes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
