"""``python -m tests.simulation --seeds 2000``: run seeds; tell the story of the first that fails."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.run import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run (default 2000)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its story")
    parser.add_argument("--keep-going", action="store_true", help="count the failures instead of stopping")
    options = parser.parse_args()
    if options.seed is not None:
        return tell(options.seed)
    began = time.process_time()
    acknowledged = reigns = handled = 0
    slowest, failed, beyond = 0.0, [], 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            _, outcome = simulate(seed)
        except (AssertionError, ValueError) as error:
            failed.append(seed)
            print(f"seed {seed}: {str(error).splitlines()[0]}")
            if not options.keep_going:
                return tell(seed)
            continue
        acknowledged += outcome.acknowledged
        reigns += outcome.reigns
        handled += outcome.handled
        beyond += outcome.beyond_repair
        if not outcome.beyond_repair:
            slowest = max(slowest, outcome.settled)
    took = time.process_time() - began
    print(
        f"{options.seeds} seeds, {len(failed)} failed, {options.seeds / took:.0f} seeds/s; "
        f"{acknowledged} records acknowledged, {reigns} reigns, {handled} events; "
        f"slowest agreement {slowest:.1f} s after the last fault; {beyond} runs lost too many disks to go on"
    )
    return 1 if failed else 0


def tell(seed: int) -> int:
    """Replay one seed with its story."""
    from tests.simulation.run import TIMING, play
    from tests.simulation.world import World

    world = World(seed, TIMING, trace=True)
    try:
        play(world)
    except (AssertionError, ValueError) as error:
        print("\n".join(world.story))
        print(f"seed {seed} fails at {world.now - 100:.3f}: {type(error).__name__}: {error}")
        print(f"replay: python -m tests.simulation --seed {seed}")
        return 1
    print("\n".join(world.story))
    print(f"seed {seed} passes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
