"""``python dependencies.py SETUP.CFG NAME...``: those of the project's requirements that an image needs.

The ranges stay in ``setup.cfg`` alone; an image names what it imports and gets nothing else.
"""

from __future__ import annotations

import configparser
import re
import sys


def chosen(setup_cfg: str, names: list[str]) -> list[str]:
    """The requirement lines of ``names``, in their order.

    Raises:
        SystemExit: one of them is no requirement of the project.
    """
    config = configparser.ConfigParser()
    with open(setup_cfg, encoding="utf-8") as file:
        config.read_file(file)
    lines = config["options"]["install_requires"].strip().splitlines()
    by_name = {re.split(r"[\s\[<>=!~;]", line.strip(), maxsplit=1)[0]: line.strip() for line in lines}
    missing = [name for name in names if name not in by_name]
    if missing:
        sys.exit(f"{setup_cfg}: install_requires does not name {', '.join(missing)}")
    return [by_name[name] for name in names]


if __name__ == "__main__":
    print("\n".join(chosen(sys.argv[1], sys.argv[2:])))
