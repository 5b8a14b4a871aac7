"""Every setting of a node: one frozen object, one table of help, checked once.

Each field's metadata is the single source of its flag, its ``TESTRING_*`` variable and its line in
``--help``. A flag wins over the environment, the environment over the default.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from node.advertise import NoAddress, own_address
from node.core.timing import PROFILES, Timing

LOOPBACK = ("127.", "localhost", "::1", "[::1]")


class ConfigError(Exception):
    """A setting is wrong; the message names it and the remedy."""


def _setting(default: Any, text: str, *, parse: Any = str, flag: bool = False) -> Any:
    return field(default=default, metadata={"help": text, "parse": parse, "flag": flag})


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace(" ", ",").split(",") if part.strip())


def _switch(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


def _size(text: str) -> int:
    """Bytes from ``512M``, ``2GiB``, ``1000``."""
    units = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    number = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = number[-1:] if number[-1:] in "kmgt" else ""
    return int(float(number.removesuffix(unit)) * units[unit])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """See ``python -m node --help``; sizes are bytes and times are seconds."""

    master: bool = _setting(
        False,
        "this node may found a cluster; with --join it founds only if no seed answers",
        flag=True,
        parse=_switch,
    )
    join: tuple[str, ...] = _setting(
        (),
        "addresses HOST:PORT of nodes to join, separated by commas (also TESTRING_SEEDS)",
        parse=_addresses,
    )
    listen: str = _setting("127.0.0.1:7000", "HOST:PORT of the CDProto listener; port 0 takes a free one")
    advertise: str = _setting(
        "",
        "HOST:PORT (or HOST) other nodes reach this one by; auto: the interface that leads to the seeds; "
        "default: what it listens on",
    )
    slots: int = _setting(
        -1, "sessions run at once; -1: one per core on a worker, none on a master that has workers", parse=int
    )
    data: Path = _setting(Path("test_results"), "results, packages and this node's identity", parse=Path)
    run_dir: Path | None = _setting(
        None, "environments and work copies; default /var/lib/testring for root, else DATA/run", parse=Path
    )
    socket_dir: Path | None = _setting(
        None,
        "directory of the control sockets; default $XDG_RUNTIME_DIR/testring or /tmp/testring-UID",
        parse=Path,
    )
    socket_group: int | None = _setting(
        None,
        "gid that may use the control sockets too: that of a service in a container of its own",
        parse=int,
    )
    secret_file: Path | None = _setting(
        None, "file with the cluster's secret; needed to listen beyond loopback", parse=Path
    )
    profile: str = _setting("lan", "timing of heartbeats: local, lan or wan")
    replicas: int = _setting(
        1,
        "losses of nodes that what was accepted survives: up to 2 x this + 1 nodes hold the log (0, 1 or 2)",
        parse=int,
    )
    git_hosts: tuple[str, ...] = _setting(
        ("https://github.com",), "origins that may be cloned from (https://HOST[:PORT])", parse=_addresses
    )
    git_ca: Path | None = _setting(None, "certificate bundle for git, beside the system's", parse=Path)
    timeout_test: float = _setting(
        300.0, "one test may take so long unless the submission says otherwise", parse=float
    )
    timeout_evaluation: float = _setting(7200.0, "one evaluation may take so long, likewise", parse=float)
    timeout_build: float = _setting(900.0, "building one environment may take so long", parse=float)
    timeout_clone: float = _setting(300.0, "cloning one repository may take so long", parse=float)
    max_upload: int = _setting(512 << 20, "largest file taken in", parse=_size)
    max_unpacked: int = _setting(2 << 30, "largest tree an archive may unpack to", parse=_size)
    max_queue: int = _setting(1000, "unfinished evaluations taken in before 429", parse=int)
    package_cache: int = _setting(10 << 30, "bytes of packages kept on this node", parse=_size)
    environment_cache: int = _setting(20 << 30, "bytes of environments kept on this node", parse=_size)
    retention_days: float = _setting(90.0, "finished evaluations are kept so long", parse=float)
    retention_size: int = _setting(20 << 30, "size of the database above which the oldest go", parse=_size)
    drain_seconds: float = _setting(30.0, "on SIGTERM running tests get so long to end", parse=float)
    log_format: str = _setting("text", "text or json: one line per event on stderr")

    @property
    def host(self) -> str:
        return split_address(self.listen)[0]

    @property
    def timing(self) -> Timing:
        """The profile's seconds."""
        return PROFILES[self.profile]

    def secret(self) -> bytes:
        """The cluster's secret, or empty when none is configured.

        Raises:
            ConfigError: the file cannot be read or is too short.
        """
        if self.secret_file is None:
            return b""
        try:
            secret = self.secret_file.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"secret file {self.secret_file}: {error.strerror}") from error
        if len(secret) < 16:
            raise ConfigError(f"secret file {self.secret_file}: at least 16 characters are needed")
        return secret


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of ``HOST:PORT``.

    Raises:
        ConfigError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{address!r} is not an address: write HOST:PORT")
    return host.strip("[]"), int(port)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return {"join": "TESTRING_SEEDS"}.get(name, f"TESTRING_{name.upper()}")


def parser() -> argparse.ArgumentParser:
    """The command line, made from the fields of ``Settings``."""
    made = argparse.ArgumentParser(
        prog="python -m node",
        description="One Testring node: a master or a worker.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    for item in fields(Settings):
        flag = "--" + item.name.replace("_", "-")
        shown = ",".join(item.default) if isinstance(item.default, tuple) else item.default
        text = f"{item.metadata['help']} (environment: {variable(item.name)}; default: {shown})".replace(
            "%", "%%"
        )
        if item.metadata["flag"]:
            made.add_argument(flag, action="store_true", help=text)
        else:
            made.add_argument(flag, metavar=item.name.upper().replace("_", "-"), help=text)
    return made


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: a value cannot be read, or two values do not fit together.
    """
    given = vars(parser().parse_args(argv))
    values: dict[str, Any] = {}
    for item in fields(Settings):
        raw = given.get(item.name, environ.get(variable(item.name)))
        if raw is None or raw == "":
            continue
        try:
            values[item.name] = raw if isinstance(raw, bool) else item.metadata["parse"](raw)
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{variable(item.name)} (--{item.name.replace('_', '-')}): {raw!r} is not valid"
            ) from error
    settings = Settings(**values)
    _check(settings)
    return _with_places(settings, environ)


def _check(settings: Settings) -> None:
    if not settings.master and not settings.join:
        raise ConfigError("say --master to found a cluster, or --join HOST:PORT to join one")
    for address in (settings.listen, *settings.join):
        split_address(address)
    if settings.profile not in PROFILES:
        raise ConfigError(f"profile {settings.profile!r}: choose one of {', '.join(PROFILES)}")
    if settings.log_format not in ("text", "json"):
        raise ConfigError("log format: choose text or json")
    if not settings.host.startswith(LOOPBACK) and not settings.secret():
        raise ConfigError(
            f"listening on {settings.listen} lets others in: put a secret of 16 or more characters in a file "
            "and give it with --secret-file (the same on every node), or listen on 127.0.0.1"
        )
    if settings.replicas not in (0, 1, 2):
        raise ConfigError(f"replicas {settings.replicas}: choose 0, 1 or 2")
    for name in ("timeout_test", "timeout_evaluation", "timeout_build", "timeout_clone", "drain_seconds"):
        if getattr(settings, name) <= 0:
            raise ConfigError(f"{variable(name)} must be more than 0 seconds")


def _with_places(settings: Settings, environ: Mapping[str, str]) -> Settings:
    root = os.geteuid() == 0
    data = settings.data.absolute()
    run = settings.run_dir or (Path("/var/lib/testring") if root else data / "run")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    default_sockets = Path(runtime) / "testring" if runtime else Path(f"/tmp/testring-{os.getuid()}")
    sockets = settings.socket_dir or default_sockets
    values = {item.name: getattr(settings, item.name) for item in fields(Settings)}
    values.update(data=data, run_dir=run.absolute(), socket_dir=sockets.absolute())
    if settings.advertise == "auto":
        try:
            values["advertise"] = own_address(split_address(seed) for seed in settings.join)
        except NoAddress as error:
            raise ConfigError(f"TESTRING_ADVERTISE: {error}") from error
    return Settings(**values)
