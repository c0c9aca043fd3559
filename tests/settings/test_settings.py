"""Settings: precedence, unknown names, wrong values, secrets, the reference."""

from __future__ import annotations

import json
import pickle
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.settings import (
    ALIASES,
    Secret,
    Settings,
    SettingsError,
    Url,
    environment_name,
    environment_of,
    json_schema,
    load,
    reference,
)

KEY = "k" * 32
NO_FILE: dict[str, str] = {}


def write(directory: Path, text: str) -> Path:
    file = directory / "trivet.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(environ: dict[str, str], file: Path | None = None, **flags: Any) -> dict[str, str]:
    with pytest.raises(SettingsError) as refused:
        load(environ, file, {name.replace("__", "."): value for name, value in flags.items()})
    return {problem.where: f"{problem.problem}. {problem.mend}" for problem in refused.value.problems}


def test_without_anything_the_defaults_hold() -> None:
    settings, provenance = load({})
    assert settings.environment == "production"
    assert settings.server.port == 8000
    assert {source.kind for source in provenance.values()} == {"default"}


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = 1\nworkers = 2\ndrain_wait = 1.5\n[database]\nurl = 'sqlite:///x.db'")
    environ = {"TRIVET_SERVER__PORT": "11", "TRIVET_SERVER__WORKERS": "3", "TRIVET_SECRET_KEY": KEY}
    settings, provenance = load(environ, file, {"server.port": 21, "server.host": None})
    assert (settings.server.port, settings.server.workers, settings.server.drain_wait) == (21, 3, 1.5)
    assert str(provenance["server.port"]) == "flag --port"
    assert str(provenance["server.workers"]) == "environment TRIVET_SERVER__WORKERS"
    assert str(provenance["server.drain_wait"]) == f"file {file}"
    assert str(provenance["server.host"]) == "default"


def test_the_names_of_hosting_platforms_work_and_lose_to_our_own() -> None:
    settings, provenance = load({"PORT": "1", "HOST": "::1", "DATABASE_URL": "sqlite:///y.db", "WEB_CONCURRENCY": "1"})
    assert (settings.server.port, settings.server.host, settings.database.url.reveal()) == (1, "::1", "sqlite:///y.db")
    assert provenance["server.port"].name == "PORT"
    settings, _ = load({"PORT": "1", "TRIVET_SERVER__PORT": "2"})
    assert settings.server.port == 2


def test_an_empty_variable_is_not_set() -> None:
    assert load({"PORT": "", "TRIVET_SERVER__HOST": ""})[0].server == Settings().server


def test_the_file_is_found_by_a_variable_and_must_then_exist(tmp_path: Path) -> None:
    file = write(tmp_path, "[log]\nlevel = 'debug'")
    assert load({"TRIVET_CONFIG": str(file)})[0].log.level == "debug"
    assert list(problems({"TRIVET_CONFIG": str(tmp_path / "no.toml")})) == [str(tmp_path / "no.toml")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRIVET_SERVER__PROT", "TRIVET_SERVER__PORT"),
        ("TRIVET_SERVER_PORT", "TRIVET_SERVER__PORT"),
        ("TRIVET_PORT", "TRIVET_SERVER__PORT"),
        ("TRIVET_ENV", "TRIVET_ENVIRONMENT"),
        ("TRIVET_DATABSE__URL", "TRIVET_DATABASE__URL"),
        ("TRIVET_WORKER", "TRIVET_SERVER__WORKERS"),
        ("TRIVET_Server__Port", "TRIVET_SERVER__PORT"),
        ("TRIVET_QQQ", "trivet config explain"),
    ],
)
def test_an_unknown_variable_says_what_was_meant(name: str, meant: str) -> None:
    assert meant in problems({name: "1"})[name]


def test_an_unknown_key_of_the_file_says_what_was_meant(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\nserver = 3\n[sever]\nport = 1\n[limits]\nbodi = 3\n[log.x]\ny = 1")
    found = problems({}, file)
    assert "server.port" in found[f"{file}: port"]
    assert "[server]" in found[f"{file}: server"]
    assert f"{file}: sever" in found
    assert "limits.body" in found[f"{file}: limits.bodi"]
    assert f"{file}: log.x" in found


def test_what_kubernetes_says_about_a_service_named_trivet_is_not_a_setting() -> None:
    load(
        {
            "TRIVET_PORT": "tcp://10.0.0.1:80",
            "TRIVET_PORT_80_TCP": "tcp://10.0.0.1:80",
            "TRIVET_PORT_80_TCP_ADDR": "10.0.0.1",
            "TRIVET_SERVICE_HOST": "10.0.0.1",
            "TRIVET_SERVICE_PORT": "80",
            "TRIVET_API_SERVICE_PORT_HTTP": "80",
        }
    )


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nworkers = '4'\n[log]\nlevel = 'loud'\n[limits]\nbody = true")
    found = problems({"PORT": "70000", "TRIVET_DATABASE__CREATE": "maybe"}, file, server__host=3)
    assert set(found) == {
        f"{file}: server.workers",
        f"{file}: log.level",
        f"{file}: limits.body",
        "PORT",
        "TRIVET_DATABASE__CREATE",
        "--host",
    }
    assert "0 to 65535" in found["PORT"]
    assert "debug or info or warning or error" in found[f"{file}: log.level"]


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "[server\n")
    assert str(file) in problems({}, file)


@pytest.mark.parametrize(("text", "port"), [("off", None), ("none", None), ("0", 0), ("9100", 9100)])
def test_what_is_optional_can_be_switched_off(text: str, port: int | None, tmp_path: Path) -> None:
    assert load({"TRIVET_SERVER__MANAGEMENT_PORT": text})[0].server.management_port == port
    file = write(tmp_path, f"[server]\nmanagement_port = {text if text.isdigit() else repr(text)}")
    assert load({}, file)[0].server.management_port == port


@pytest.mark.parametrize(
    ("text", "create"), [("off", False), ("TRUE", True), ("0", False), ("yes", True), ("null", None)]
)
def test_a_truth_value_has_the_usual_words(text: str, create: bool | None) -> None:
    assert load({"TRIVET_DATABASE__CREATE": text})[0].database.create is create


def test_development_has_defaults_of_its_own_that_can_be_changed() -> None:
    settings, _ = load({"TRIVET_ENVIRONMENT": "development"})
    assert (settings.log.format, settings.server.drain_wait) == ("text", 0)
    assert load({"TRIVET_ENVIRONMENT": "development", "TRIVET_LOG__FORMAT": "json"})[0].log.format == "json"


# -- secrets


def test_a_secret_shows_itself_only_when_asked() -> None:
    settings, _ = load({"TRIVET_SECRET_KEY": KEY})
    assert settings.secret_key.reveal() == KEY
    shown = [repr(settings), str(settings.secret_key), f"{settings.secret_key}", str(settings)]
    shown.append(json.dumps({"key": settings.secret_key}, default=str))
    shown.append(msgspec.json.encode([settings.secret_key], enc_hook=str).decode())
    assert not any(KEY in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(settings.secret_key)
    with pytest.raises(TypeError):
        msgspec.json.encode(settings.secret_key)


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")


def test_the_password_of_an_address_is_hidden() -> None:
    url = Url("postgresql://shop:hunter2@db:5432/shop")
    assert "hunter2" not in repr(url)
    assert url.shown == "postgresql://shop:********@db:5432/shop"
    assert "hunter2" not in f"{url}"
    assert url.reveal() == "postgresql://shop:hunter2@db:5432/shop"
    assert Url("sqlite:///a.db").shown == "sqlite:///a.db"


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    assert load({"TRIVET_SECRET_KEY_FILE": str(tmp_path / "key")})[0].secret_key == Secret(KEY)
    file = write(tmp_path, f"secret_key = {{ file = {str(tmp_path / 'key')!r} }}")
    assert load({}, file)[0].secret_key == Secret(KEY)
    assert load({"TRIVET_DATABASE__URL_FILE": str(tmp_path / "key")})[0].database.url.reveal() == KEY


def test_a_secret_that_is_given_twice_or_can_not_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "key").write_text(KEY)
    twice = {"TRIVET_SECRET_KEY_FILE": str(tmp_path / "key"), "TRIVET_SECRET_KEY": KEY}
    assert "set as well" in problems(twice)["TRIVET_SECRET_KEY_FILE"]
    for name in ("none", "empty", "binary"):
        assert "TRIVET_SECRET_KEY_FILE" in problems({"TRIVET_SECRET_KEY_FILE": str(tmp_path / name)})
    assert "unknown" in problems({"TRIVET_LOG__LEVEL_FILE": "x"})["TRIVET_LOG__LEVEL_FILE"]


def test_a_wrong_secret_is_not_in_the_message(tmp_path: Path) -> None:
    file = write(tmp_path, "secret_key = 1234567890123456")
    assert "1234567890123456" not in str(problems({}, file))


# -- what must fit together


def test_several_workers_in_production_need_a_key_that_they_share() -> None:
    assert "TRIVET_SECRET_KEY_FILE" in problems({"WEB_CONCURRENCY": "2"})["secret_key"]
    load({"WEB_CONCURRENCY": "2", "TRIVET_SECRET_KEY": KEY})
    load({"WEB_CONCURRENCY": "2", "TRIVET_ENVIRONMENT": "development"})


def test_a_short_key_is_refused() -> None:
    assert "too short" in problems({"TRIVET_SECRET_KEY": "hunter2"})["secret_key"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])
def test_the_developer_is_only_for_this_machine(host: str) -> None:
    assert "127.0.0.1" in problems({"TRIVET_ENVIRONMENT": "development", "HOST": host})["server.host"]
    load({"TRIVET_ENVIRONMENT": "development", "HOST": host, "TRIVET_IDENTITY__DEVELOPER": "false"})
    load({"HOST": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.1.1", "::1", "localhost"])
def test_the_developer_may_listen_on_loopback(host: str) -> None:
    load({"TRIVET_ENVIRONMENT": "development", "HOST": host})


def test_both_listeners_need_ports_of_their_own() -> None:
    assert "server.management_port" in problems({"PORT": "9000"})
    development = {"PORT": "9000", "TRIVET_ENVIRONMENT": "development"}
    assert load(development)[0].server.port == 9000  # the default of the other one gives way
    assert "server.management_port" in problems({**development, "TRIVET_SERVER__MANAGEMENT_PORT": "9000"})
    load({"PORT": "0", "TRIVET_SERVER__MANAGEMENT_PORT": "0"})


def test_workers_do_not_share_a_private_database() -> None:
    found = problems({"DATABASE_URL": "sqlite://", "WEB_CONCURRENCY": "2", "TRIVET_SECRET_KEY": KEY})
    assert "one worker" in found["database.url"]


def test_rules_are_not_asked_about_values_that_are_wrong_in_themselves() -> None:
    assert set(problems({"WEB_CONCURRENCY": "many"})) == {"WEB_CONCURRENCY"}


# -- the reference


def test_every_setting_is_described_and_has_its_variable() -> None:
    for entry in reference():
        assert entry.description, entry.path
        assert entry.type, entry.path
        assert entry.env[0] == environment_name(entry.path)
    assert set(ALIASES) <= {name for entry in reference() for name in entry.env}
    assert set(ALIASES.values()) <= {entry.path for entry in reference()}


def test_the_schema_describes_exactly_the_settings() -> None:
    schema = json_schema()
    paths = {
        f"{name}.{inner}" if "properties" in table else name
        for name, table in schema["properties"].items()
        for inner in table.get("properties", {"": None})
    }
    assert paths == {entry.path for entry in reference()}
    assert schema["properties"]["server"]["properties"]["port"]["maximum"] == 65535
    assert KEY not in json.dumps(schema)


# -- properties

SECRETS = st.text(string.ascii_letters, min_size=32).map(Secret)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "app": st.text(string.ascii_letters, min_size=1).filter(lambda text: text.lower() not in ("off", "none", "null")),
    "environment": st.sampled_from(["production", "development"]),
    "server.port": st.integers(1, 8999),
    "server.workers": st.integers(1, 1024),
    "server.management_port": st.none() | st.integers(9000, 65535),
    "server.drain_wait": st.floats(0, 86400),
    "database.url": st.sampled_from(["sqlite:///a.db", "postgresql://u:p@h/d"]).map(Url),
    "database.create": st.none() | st.booleans(),
    "limits.body": st.integers(1, 2**31 - 1),
    "log.level": st.sampled_from(["debug", "info", "warning", "error"]),
    "identity.developer": st.just(False),
}


def at(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


@given(st.fixed_dictionaries({"secret_key": SECRETS}, optional=VALUES))
def test_settings_survive_the_way_through_the_environment(values: dict[str, Any]) -> None:
    settings, provenance = load(environment_of(values))
    for path, value in values.items():
        assert at(settings, path) == value
        assert provenance[path].kind == "environment"


def reasons(refused: SettingsError) -> None:
    assert refused.problems
    assert all(problem.problem and problem.mend for problem in refused.problems)


NAMES = st.sampled_from([*ALIASES, *(name for entry in reference() for name in entry.env)]) | st.text(
    string.ascii_uppercase + "_", max_size=20
).map(lambda name: f"TRIVET_{name}")


@given(
    st.dictionaries(NAMES.filter(lambda name: name != "TRIVET_CONFIG"), st.text(max_size=20), max_size=5),
    st.dictionaries(st.text(max_size=20), st.none() | st.integers() | st.text() | st.booleans(), max_size=3),
)
def test_any_environment_and_any_flags_give_settings_or_the_reasons(
    environ: dict[str, str], flags: dict[str, Any]
) -> None:
    try:
        settings, provenance = load(environ, None, flags)
    except SettingsError as refused:
        reasons(refused)
    else:
        assert set(provenance) == {entry.path for entry in reference()}
        assert settings.server.port >= 0


TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(string.ascii_letters, max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from([*(e.path for e in reference()), "server", "x.y", "log"]), TOML, max_size=4))
def test_any_file_gives_settings_or_the_reasons(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    lines = "\n".join(f"{path} = {json.dumps(value)}" for path, value in table.items())
    file = write(tmp_path_factory.mktemp("settings"), lines)
    try:
        load({}, file)
    except SettingsError as refused:
        reasons(refused)


def test_addresses_of_replicas_are_a_list_and_hide_their_passwords(tmp_path: Path) -> None:
    two = "postgresql://shop:hush@a,b/shop?target_session_attrs=standby, postgresql://shop:hush@c/shop"
    environ = {"DATABASE_URL": "postgresql://shop:hush@p/shop", "TRIVET_DATABASE__REPLICAS": two}
    settings, _ = load(environ)
    hosts = [url.reveal().partition("@")[2].partition("/")[0] for url in settings.database.replicas]
    assert hosts == ["a,b", "c"]
    assert "hush" not in repr(settings.database)
    again = environment_of({"database.replicas": settings.database.replicas})
    assert load({**environ, **again})[0].database.replicas == settings.database.replicas
    file = write(tmp_path, "[database]\nurl = 'postgresql://p/shop'\nreplicas = ['postgresql://a/shop']")
    assert len(load({}, file)[0].database.replicas) == 1


def test_replicas_and_the_record_of_sessions_must_fit_the_rest() -> None:
    wrong = problems({"TRIVET_DATABASE__REPLICAS": "postgresql://a/shop", "TRIVET_DATABASE__SESSION_RECORD": "memory"})
    assert "PostgreSQL" in wrong["database.replicas"]
    assert "WEB_CONCURRENCY=1" in wrong["database.session_record"]
    assert load({"TRIVET_DATABASE__SESSION_RECORD": "memory", "WEB_CONCURRENCY": "1"})
