"""The submission's own requirements: checked before anything else reads them, and made to win."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from node.environment.errors import BuildError


def parse(lines: Iterable[str], option: str = "requirements") -> list[Requirement]:
    """Requirements as PEP 508 says, without URLs, paths or options of an installer.

    Raises:
        BuildError: naming the option and the line.
    """
    parsed = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise BuildError(f"option {option}: {text[:100]!r} is not a requirement ({reason})") from error
        if requirement.url:
            raise BuildError(
                f"option {option}: {text[:100]!r}: a URL is not taken; name a distribution and a version"
            )
        parsed.append(requirement)
    return parsed


def names(requirements: Iterable[Requirement]) -> set[str]:
    """The canonical names of the distributions."""
    return {canonicalize_name(requirement.name) for requirement in requirements}


def overrides(requirements: Iterable[Requirement], project: str) -> list[str]:
    """Lines for uv's ``--override``: these versions stand, whatever the project declares.

    A requirement without a version overrides nothing, and the project itself is never replaced.
    """
    return [
        str(requirement)
        for requirement in requirements
        if requirement.specifier and canonicalize_name(requirement.name) != project
    ]


def lock_constraints(exported: str, won: set[str]) -> list[str]:
    """The pins of an exported ``uv.lock`` without those the submission decides (names ``won``)."""
    kept = []
    for line in exported.splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-", ".", "/")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            # A path or an address of another kind: no version to hold on to.
            continue
        if not requirement.url and canonicalize_name(requirement.name) not in won:
            kept.append(text)
    return kept
