"""Settings from the environment: read once, checked once, every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.__main__ import main, usage
from api.settings import SettingsError, load


def test_defaults() -> None:
    settings = load({"XDG_RUNTIME_DIR": "/run/user/7"})
    assert settings.socket == Path("/run/user/7/testring/master.sock")
    assert (settings.bind, settings.max_upload, settings.tokens) == ("127.0.0.1:8080", 512 << 20, ())


def test_values() -> None:
    environ = {
        "TESTRING_SOCKET": "/s",
        "TESTRING_API_BIND": "0.0.0.0:80, [::1]:81",
        "TESTRING_API_TOKENS": "a:b:read, c:submit",
        "TESTRING_MAX_UPLOAD": "2GiB",
        "TESTRING_BODY_TIMEOUT": "1.5",
    }
    settings = load(environ)
    assert settings.socket == Path("/s")
    assert settings.tokens == (("a:b", "read"), ("c", "submit"))
    assert (settings.max_upload, settings.body_timeout) == (2 << 30, 1.5)
    assert "a:b" not in repr(settings)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "127.8.0.1:80", "localhost:80", "[::1]:8080", "unix:/tmp/x"])
def test_loopback_needs_no_token(bind: str) -> None:
    assert load({"TESTRING_API_BIND": bind}).bind == bind


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "localhost.example.org:80", "127.0.0.1:80,0.0.0.0:81"]
)
def test_beyond_loopback_needs_tokens_or_consent(bind: str) -> None:
    with pytest.raises(SettingsError, match="TESTRING_API_TOKENS"):
        load({"TESTRING_API_BIND": bind})
    assert load({"TESTRING_API_BIND": bind, "TESTRING_API_TOKENS": "t:read"})
    assert load({"TESTRING_API_BIND": bind, "TESTRING_API_INSECURE": "1"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TESTRING_MAX_UPLOAD", "many"),
        ("TESTRING_MAX_UPLOAD", "0"),
        ("TESTRING_BODY_TIMEOUT", "-1"),
        ("TESTRING_API_BIND", "8080"),
        ("TESTRING_API_BIND", "127.0.0.1:99999"),
        ("TESTRING_API_TOKENS", "secret"),
        ("TESTRING_API_TOKENS", "secret:admin"),
        ("TESTRING_SPOOL", "/nonexistent"),
        ("TESTRING_LOG_FORMAT", "xml"),
    ],
)
def test_mistakes_are_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as raised:
        load({variable: value})
    assert "secret" not in str(raised.value)


def test_command_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TESTRING_API_BIND", "0.0.0.0:80")
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "TESTRING_API_TOKENS" in said
    assert main(["--port", "1"]) == 2


def test_usage_has_every_variable() -> None:
    assert "TESTRING_API_BIND" in usage()
    assert "TESTRING_SPOOL" in usage()


def test_published_on_loopback_needs_no_token() -> None:
    """A container binds beyond loopback inside; what counts is where its engine publishes it."""
    inside = {"TESTRING_API_BIND": "0.0.0.0:8080"}
    assert load({**inside, "TESTRING_API_PUBLISHED": "127.0.0.1:8080"})
    for wide in ("0.0.0.0:8080", "8080", "192.0.2.7:80"):
        with pytest.raises(SettingsError, match=f"serving on {wide} lets others"):
            load({**inside, "TESTRING_API_PUBLISHED": wide})
        assert load({**inside, "TESTRING_API_PUBLISHED": wide, "TESTRING_API_TOKENS": "t:read"})


def test_tokens_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("one:read\ntwo:submit\n")
    environ = {"TESTRING_API_TOKENS_FILE": str(file), "TESTRING_API_TOKENS": "three:read"}
    assert load(environ).tokens == (("three", "read"), ("one", "read"), ("two", "submit"))
    file.write_text("secret")
    with pytest.raises(SettingsError, match="TESTRING_API_TOKENS_FILE") as raised:
        load(environ)
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="No such file"):
        load({"TESTRING_API_TOKENS_FILE": str(tmp_path / "none")})
