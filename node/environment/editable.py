"""Which folders of a built tree its tests import from, as the editable install says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def import_roots(site_packages: Path, tree: Path) -> tuple[tuple[PurePosixPath, ...], bool]:
    """Folders relative to ``tree`` named by ``.pth`` files, in the order Python would add them.

    The second value says whether an install hooks the import system instead (lines of code, no
    path): then copies of the tree are not imported, the built tree itself is.
    """
    root = tree.resolve()
    roots: list[PurePosixPath] = []
    hooked = False
    for pth in sorted(site_packages.glob("*.pth")):
        for line in pth.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.strip()
            if text.startswith(("import ", "import\t")):
                hooked = hooked or "editable" in f"{pth.name}{text}".lower()
                continue
            if not text or text.startswith("#"):
                continue
            path = (site_packages / text).resolve()
            if path.is_relative_to(root):
                relative = PurePosixPath(path.relative_to(root).as_posix())
                if relative not in roots:
                    roots.append(relative)
    return tuple(roots), hooked and not roots


def site_packages(venv: Path) -> Path:
    """The folder packages are installed to.

    Raises:
        FileNotFoundError: the folder is not a virtual environment.
    """
    for folder in sorted((venv / "lib").glob("python3.*/site-packages")):
        return folder
    raise FileNotFoundError(f"no site-packages below {venv}")
