"""``python -m tests.containers.plain MARK``: plain pytest in an environment that a node built.

``MARK`` is a path that only the project's tree holds. Prints ``[[node id, occurrence, outcome], ...]``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.real import reference


def main(mark: str, flags: list[str]) -> None:
    """Run it once, serially."""
    places = reference.environments(Path(os.environ["TESTRING_RUN_DIR"]))
    place = next(place for place in sorted(places) if (place / "tree" / mark).exists())
    outcomes = reference.serial(reference.Built.load(place), flags).outcomes
    print(json.dumps([[*key, outcome] for key, outcome in outcomes.items()]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
