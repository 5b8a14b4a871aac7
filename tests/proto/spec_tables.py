"""The tables of SPEC.md, made from the code: ``python -m tests.proto.spec_tables`` rewrites them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
from msgspec import inspect

from proto import connection, errors, frames, handshake, messages, payloads, voting
from proto.frames import FIXED_SIZES, UNVERSIONED, FrameType, Limits
from proto.liveness import Timing

SPEC = Path(messages.__file__).with_name("SPEC.md")
MARK = "<!-- from here on made by tests/proto/spec_tables.py -->\n"

PAYLOADS = {
    FrameType.HELLO: "map, see Hello",
    FrameType.CHALLENGE: "map, see Challenge",
    FrameType.PROOF: "HMAC-SHA256",
    FrameType.MESSAGE: "map with the key `type`, see Messages",
    FrameType.CHUNK: "file bytes, at least 1",
    FrameType.CREDIT: "u32: bytes granted, at least 1",
    FrameType.PING: "u64: 1 for the first PING of this side, then one more each time",
    FrameType.PONG: "u64: the number of the PING it answers",
    FrameType.ERROR: "map, see ErrorReport",
}
PARTS = (
    messages.TestId,
    messages.AssignmentId,
    messages.Verdict,
    messages.Options,
    messages.Member,
    voting.Epoch,
    voting.Mark,
    voting.LogRecord,
)
PLAIN = {
    inspect.StrType: "str",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.BoolType: "bool",
    inspect.BytesType: "bin",
    inspect.NoneType: "nil",
}
BOUNDS = (
    ("min_length", "at least {} long"),
    ("max_length", "at most {} long"),
    ("ge", "{} or more"),
    ("le", "{} or less"),
    ("pattern", "matches `{}`"),
)


def bounds(kind: inspect.Type) -> str:
    """The limits of a type, as words after a comma."""
    found = ((words, getattr(kind, name, None)) for name, words in BOUNDS)
    return "".join(", " + words.format(value) for words, value in found if value is not None)


def type_text(kind: inspect.Type) -> str:
    """A field's type in the specification's words."""
    if isinstance(kind, inspect.StructType):
        return kind.cls.__name__
    if isinstance(kind, inspect.VarTupleType):
        return f"array of ({type_text(kind.item_type)})" + bounds(kind)
    if isinstance(kind, inspect.DictType):
        return f"map of ({type_text(kind.key_type)}) to ({type_text(kind.value_type)})"
    if isinstance(kind, inspect.UnionType):
        if all(isinstance(part, inspect.StructType) for part in kind.types):
            return "one of the queries"
        return " or ".join(type_text(part) for part in kind.types)
    if isinstance(kind, inspect.LiteralType):
        return "str, one of " + ", ".join(f"`{value}`" for value in sorted(kind.values))
    return PLAIN[type(kind)] + bounds(kind)


def default_text(field: inspect.Field) -> str:
    """What an absent field means."""
    if field.required:
        return "not allowed"
    if field.default_factory is not msgspec.NODEFAULT or field.default in ("", b"", (), None):
        return "none" if field.default is None else "empty"
    if isinstance(field.default, messages.Options):
        return "all its defaults"
    return f"`{msgspec.json.encode(field.default).decode()}`"


def first_sentence(cls: type) -> str:
    """The first paragraph of a docstring as one line; empty for one that the library made up."""
    text = (cls.__doc__ or "").split("\n\n")[0]
    return "" if text.startswith(cls.__name__ + "(") else " ".join(text.split()).replace("``", "`")


def struct_lines(cls: type) -> list[str]:
    """A heading, what it is for, and a table row for each field."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    form = f" `{info.tag}`" if info.tag else (", an array of its fields in order" if info.array_like else "")
    lines = [f"**{cls.__name__}**{form}", ""]
    if text := first_sentence(cls):
        lines += [text, ""]
    if info.forbid_unknown_fields:
        lines += ["An unknown key is `bad-message` here.", ""]
    if not info.fields:
        return [*lines, "No fields.", ""]
    lines += ["| field | type | if absent |", "|---|---|---|"]
    lines += [f"| `{f.encode_name}` | {type_text(f.type)} | {default_text(f)} |" for f in info.fields]
    return [*lines, ""]


def frame_types() -> list[str]:
    lines = ["### Frame types", "", "| type | name | version byte | payload bytes | payload |"]
    lines.append("|---|---|---|---|---|")
    for kind in FrameType:
        size = str(FIXED_SIZES[kind]) if kind in FIXED_SIZES else f"at most {Limits().of(kind)}"
        version = "0" if kind in UNVERSIONED else "the agreed one"
        lines.append(f"| {kind.value} | {kind.name} | {version} | {size} | {PAYLOADS[kind]} |")
    return [*lines, ""]


def states() -> list[str]:
    lines = ["### States", "", "| side | state | frame | sends | next state |", "|---|---|---|---|---|"]
    for (side, state, kind), following in handshake.TRANSITIONS.items():
        answer = handshake.ANSWERS.get((side, kind))
        sends = answer.name if answer else "-"
        lines.append(f"| {side.value} | {state.value} | {kind.name} | {sends} | {following.value} |")
    everywhere = sorted(set(connection.OPEN) - connection.STREAM_ONLY)
    for kinds, where in ((everywhere, "both"), (sorted(connection.STREAM_ONLY), "both, role `stream`")):
        for kind in kinds:
            sends = "PONG" if kind is FrameType.PING else "-"
            lines.append(f"| {where} | done | {kind.name} | {sends} | done |")
    return [*lines, "| both | any | ERROR | - | closed |", ""]


def limits() -> list[str]:
    sizes, timing = Limits(), Timing()
    return [
        "### Limits",
        "",
        "| limit | value |",
        "|---|---|",
        f"| all frames received before the handshake is done, headers included | {sizes.handshake} bytes |",
        f"| the payload of MESSAGE | {sizes.message} bytes |",
        f"| the payload of CHUNK | {sizes.chunk} bytes |",
        f"| the window, each way | {sizes.window} bytes |",
        f"| time for the handshake | {timing.handshake_timeout:g} s |",
        f"| nothing heard before a PING, and between PINGs (default) | {timing.ping_interval:g} s |",
        f"| nothing heard before a peer counts as silent (default) | {timing.silence_after:g} s |",
        f"| nothing heard before a connection is given up (default) | {timing.close_after:g} s |",
        f"| the nonce | {payloads.NONCE} bytes |",
        f"| the header | {frames.HEADER.size} bytes |",
        f"| the reason in ERROR, as sent | {errors.REASON} characters |",
        "",
    ]


def codes() -> list[str]:
    lines = ["### Error codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {first_sentence(cls)} |" for code, cls in errors.CODES.items()]
    return [*lines, f"| `{errors.CLOSED}` | No error: the sender ends the connection in good order. |", ""]


def tables() -> str:
    """Everything of SPEC.md that follows from the code."""
    lines = [*frame_types(), *states(), *limits(), *codes(), "### Payloads without a tag", ""]
    for cls in (payloads.Hello, payloads.Challenge, payloads.Identity, payloads.ErrorReport):
        lines += struct_lines(cls)
    lines += ["### Structures inside messages", ""]
    for cls in PARTS:
        lines += struct_lines(cls)
    for title, union in (("Messages", messages.AnyMessage), ("Queries, inside `request`", messages.Query)):
        lines += [f"### {title}", ""]
        for cls in get_args(union):
            lines += struct_lines(cls)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Rewrite the tables in place."""
    prose = SPEC.read_text(encoding="utf-8").split(MARK)[0]
    SPEC.write_text(prose + MARK + "\n" + tables(), encoding="utf-8")


if __name__ == "__main__":
    main()
