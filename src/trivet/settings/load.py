"""Loading settings: from flags, environment, file and defaults, with everything that is wrong said at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec

from trivet.core.shape import Struct
from trivet.settings.describe import Leaf, groups, leaves
from trivet.settings.tree import DEVELOPMENT, SECRET_KEY_LENGTH_MIN, Settings, environment_name

DEFAULT_FILE = Path("trivet.toml")
FILE_VARIABLE = "TRIVET_CONFIG"
"""Names the file, in place of ``trivet.toml`` in the working directory."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "DATABASE_URL": "database.url",
        "REDIS_URL": "redis.url",
        "HOST": "server.host",
        "PORT": "server.port",
        "WEB_CONCURRENCY": "server.workers",
    }
)
"""Environment variables that hosting platforms set; a ``TRIVET_`` variable wins over its alias."""

# Kubernetes describes a service named "trivet" to every pod with variables of this form.
SERVICE_LINK = re.compile(r"TRIVET_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
ADDRESSES = re.compile(r"\s*,\s*(?=\w+://)")
"""Between two addresses: there are commas in an address that names several hosts."""

NONE = frozenset({"none", "null"})
TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Source(Struct):
    """Where a value came from.

    Attributes:
        kind: Which of the four places.
        name: The variable, file or flag; empty for a default.
    """

    kind: Literal["default", "file", "environment", "flag"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


Provenance = Mapping[str, Source]
"""The source of each setting by its path."""


class Problem(Struct):
    """One thing that is wrong with the settings.

    Attributes:
        where: The setting as it was written: a variable, a flag, a line of a table.
        problem: What is wrong; never shows a secret.
        mend: What to do about it.
    """

    where: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}\n    {self.mend}"


class SettingsError(Exception):
    """The settings can not be used; `problems` says everything that is wrong with them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{count} setting{'s' * (count != 1)} to mend\n{lines}")


class Given(Struct):
    """A value that somebody gave, not yet checked.

    Attributes:
        path: The setting.
        value: As it was given.
        source: By whom.
        text: Whether it is text that stands for a value of another type.
    """

    path: str
    value: Any
    source: Source
    text: bool


def load(
    environ: Mapping[str, str], file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> tuple[Settings, Provenance]:
    """Return the settings and where each of them came from.

    Args:
        environ: The environment; empty variables count as not set.
        file: The file to read; must exist. ``None`` reads the one that ``TRIVET_CONFIG`` names, else ``trivet.toml``
            in the working directory if there is one.
        flags: Values from a command line by path; those that are ``None`` were not given.

    Raises:
        SettingsError: With every problem: unknown names, wrong values, values that do not fit together.
    """
    problems: list[Problem] = []
    given = [
        *_from_file(_file(environ, file, problems), problems),
        *_from_environment(environ, problems),
        *_from_flags(flags or {}, problems),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    broken: set[str] = set()
    for item in given:  # the last one wins, and every one is checked
        try:
            values[item.path] = _convert(leaves()[item.path], item)
            sources[item.path] = item.source
        except (ValueError, KeyError, OSError) as wrong:
            broken.add(item.path)
            problems.append(_wrong_value(leaves()[item.path], item, wrong))
    if values.get("environment") == "development":
        values = {**DEVELOPMENT, **values}
    settings = _build(values)
    problems += [
        Problem(where=rule.title, problem=rule.problem, mend=rule.mend)
        for rule in RULES
        if broken.isdisjoint(rule.reads) and rule.broken(settings, sources)
    ]
    if problems:
        raise SettingsError(problems)
    return settings, {path: sources.get(path, Source(kind="default")) for path in leaves()}


# -- what is given


def _file(environ: Mapping[str, str], file: Path | None, problems: list[Problem]) -> Path | None:
    named = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    path = named or DEFAULT_FILE
    if path.is_file():
        return path
    if named is not None:
        problems.append(
            Problem(
                where=str(path),
                problem="there is no such file",
                mend=f"Name an existing file, or unset {FILE_VARIABLE}.",
            )
        )
    return None


def _from_file(file: Path | None, problems: list[Problem]) -> Iterator[Given]:
    if file is None:
        return
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        problems.append(Problem(where=str(file), problem=str(wrong), mend="Write it as TOML (https://toml.io)."))
        return
    yield from _from_table(document, "", file, problems)


def _from_table(table: Mapping[str, Any], prefix: str, file: Path, problems: list[Problem]) -> Iterator[Given]:
    for key, value in table.items():
        path = prefix + key
        if path in leaves():
            yield Given(path=path, value=value, source=Source(kind="file", name=str(file)), text=False)
        elif path in groups() and isinstance(value, dict):
            yield from _from_table(value, f"{path}.", file, problems)
        elif path in groups():
            mend = f"Write a table, [{path}], with its settings below it."
            problems.append(Problem(where=f"{file}: {path}", problem="is a group of settings", mend=mend))
        else:
            problems.append(Problem(where=f"{file}: {path}", problem="unknown setting", mend=_meant(path, str)))


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> Iterator[Given]:
    for name, path in ALIASES.items():
        if environ.get(name):
            yield Given(path=path, value=environ[name], source=Source(kind="environment", name=name), text=True)
    for name, value in environ.items():
        if not name.startswith("TRIVET_") or not value or name == FILE_VARIABLE or _is_service_link(name, value):
            continue
        path = name.removeprefix("TRIVET_").lower().replace("__", ".")
        source = Source(kind="environment", name=name)
        of = leaves().get(path.removesuffix("_file"))
        if path in leaves() and name == environment_name(path):
            yield Given(path=path, value=value, source=source, text=True)
        elif path.endswith("_file") and of is not None and of.secret:
            if environ.get(environment_name(of.path)):
                other = environment_name(of.path)
                problems.append(Problem(where=name, problem=f"{other} is set as well", mend="Set one of the two."))
            yield Given(path=of.path, value={"file": value}, source=source, text=True)
        else:
            problems.append(Problem(where=name, problem="unknown setting", mend=_meant(path, environment_name)))


def _is_service_link(name: str, value: str) -> bool:
    return bool(SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and "://" in value)


def _from_flags(flags: Mapping[str, Any], problems: list[Problem]) -> Iterator[Given]:
    for path, value in flags.items():
        if path not in leaves():
            problems.append(Problem(where=path, problem="unknown setting", mend=_meant(path, str)))
        elif value is not None:
            name = "--" + path.rpartition(".")[2].replace("_", "-")
            yield Given(path=path, value=value, source=Source(kind="flag", name=name), text=isinstance(value, str))


def _meant(path: str, spelled: Callable[[str], str]) -> str:
    """Return advice that names the settings nearest to an unknown one."""
    last = path.rpartition(".")[2]
    same = [known for known in leaves() if known.rpartition(".")[2] == last]
    near = (
        same
        or [known for known in leaves() if known.startswith(path)]
        or difflib.get_close_matches(path, leaves(), n=3, cutoff=0.75)
    )
    if not near:
        names = {known.rpartition(".")[2]: known for known in leaves()}
        near = [names[name] for name in difflib.get_close_matches(last, names, n=2, cutoff=0.7)]
    if near:
        return f"Did you mean {' or '.join(spelled(known) for known in near)}?"
    return "`trivet config explain` lists the settings."


# -- what is checked


def _convert(leaf: Leaf, item: Given) -> Any:
    value = item.value
    if isinstance(value, dict) and leaf.secret:
        value = _referred(value)
    if isinstance(value, str) and leaf.optional and _is_none(value, leaf):
        return None
    if leaf.secret:
        if leaf.several:
            return _several(leaf, value)
        if not isinstance(value, str):
            raise ValueError("not text")
        return leaf.plain(value)
    if leaf.plain is bool and item.text and isinstance(value, str):
        return TRUTH[value.lower()]
    if get_origin(leaf.plain) is tuple and item.text and isinstance(value, str):
        value = [word for word in map(str.strip, value.split(",")) if word]
    return msgspec.convert(value, leaf.type, strict=not item.text)


def _several(leaf: Leaf, value: Any) -> Any:
    """Return values that are wrapped each, from a list of texts or from addresses with commas in between."""
    words = ADDRESSES.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("not a list of texts")
    [kind, _] = get_args(leaf.plain)
    return tuple(kind(word.strip()) for word in words if word.strip())


def _is_none(value: str, leaf: Leaf) -> bool:
    return value.lower() in NONE or (value.lower() == "off" and leaf.plain is not bool)


def _referred(value: Mapping[str, Any]) -> str:
    """Return the text in the file that a value refers to."""
    if set(value) != {"file"} or not isinstance(value["file"], str):
        raise ValueError('write a text, or { file = "/path" }')
    text = Path(value["file"]).read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{value['file']} is empty")
    return text


def _wrong_value(leaf: Leaf, item: Given, wrong: Exception) -> Problem:
    named = item.source.name if item.source.kind != "file" else f"{item.source.name}: {item.path}"
    if leaf.secret:
        shown = wrong.strerror or str(wrong) if isinstance(wrong, OSError) else str(wrong)
        if isinstance(wrong, UnicodeError):
            shown = "the file is not UTF-8 text"
        if isinstance(wrong, OSError):
            shown = f"{wrong.filename}: {shown}"
        return Problem(where=named, problem=shown, mend=f"{item.path} takes a text, or a file that holds it.")
    return Problem(where=named, problem=f"{item.value!r} does not fit", mend=f"{item.path} takes: {leaf.expects}.")


def _build(values: Mapping[str, Any]) -> Settings:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        group, _, name = path.rpartition(".")
        if group:
            tree.setdefault(group, {})[name] = value
        else:
            tree[name] = value
    kinds = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    return Settings(**{name: kinds[name](**value) if name in groups() else value for name, value in tree.items()})


class Rule(Struct):
    """Settings that must fit together.

    Attributes:
        reads: The settings that it looks at; it is not asked while one of them is wrong in itself.
        title: What is named in the message.
        broken: Whether it is violated, from the settings and the sources of those that were given.
        problem: What is wrong.
        mend: What to do about it.
    """

    reads: tuple[str, ...]
    title: str
    broken: Callable[[Settings, Mapping[str, Source]], bool]
    problem: str
    mend: str


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_network(text: str) -> bool:
    """Whether a text is an IP address, or a network of them."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


RULES = (
    Rule(
        reads=("environment", "server.workers", "secret_key"),
        title="secret_key",
        broken=lambda s, given: not s.development and (s.server.workers or 0) > 1 and "secret_key" not in given,
        problem="is not set, and several workers in production must share one",
        mend='Set TRIVET_SECRET_KEY, or TRIVET_SECRET_KEY_FILE, to what `python -c "import secrets; '
        'print(secrets.token_urlsafe(32))"` prints.',
    ),
    Rule(
        reads=("secret_key",),
        title="secret_key",
        broken=lambda s, given: len(s.secret_key.reveal()) < SECRET_KEY_LENGTH_MIN,
        problem="is too short to be safe",
        mend=f"Use at least {SECRET_KEY_LENGTH_MIN} random characters, such as `python -c "
        '"import secrets; print(secrets.token_urlsafe(32))"` prints.',
    ),
    Rule(
        reads=("environment", "server.host", "identity.developer"),
        title="server.host",
        broken=lambda s, given: s.development and s.identity.developer and not is_loopback(s.server.host),
        problem="is reached from other machines, and in development callers without credentials act as the developer",
        mend="Listen on 127.0.0.1, or set TRIVET_IDENTITY__DEVELOPER=false, or use the production environment.",
    ),
    Rule(
        reads=("environment", "server.port", "server.management_port"),
        title="server.management_port",
        # In development the default gives way to a free port.
        broken=lambda s, given: (
            s.server.port != 0
            and s.server.port == s.server.management_port
            and not (s.development and "server.management_port" not in given)
        ),
        problem="is the port that requests are served on",
        mend="Choose another TRIVET_SERVER__MANAGEMENT_PORT, 0 for any free one, or off.",
    ),
    Rule(
        reads=("cors.origins", "cors.credentials"),
        title="cors.credentials",
        broken=lambda s, given: s.cors.credentials and "*" in s.cors.origins,
        problem="is set while every origin is allowed, and any page could act for whoever looks at it",
        mend="Name the origins in TRIVET_CORS__ORIGINS, or leave credentials out: tokens do not need them.",
    ),
    Rule(
        reads=("server.trusted_proxies",),
        title="server.trusted_proxies",
        broken=lambda s, given: not all(map(is_network, s.server.trusted_proxies)),
        problem="has something that is not a network",
        mend="Write addresses and networks without host bits, such as 10.0.0.0/8,2001:db8::/32.",
    ),
    Rule(
        reads=("tls.certificate", "tls.key"),
        title="tls",
        broken=lambda s, given: (s.tls.certificate is None) != (s.tls.key is None),
        problem="has a certificate without a key, or a key without a certificate",
        mend="Set both TRIVET_TLS__CERTIFICATE and TRIVET_TLS__KEY, or neither.",
    ),
    Rule(
        reads=("tls.certificate", "tls.client_ca", "tls.client_certificate"),
        title="tls.client_certificate",
        broken=lambda s, given: (
            (s.tls.client_certificate != "off") != (s.tls.client_ca is not None)
            or (s.tls.client_ca is not None and s.tls.certificate is None)
        ),
        problem="does not fit the other settings of TLS",
        mend="Client certificates need TRIVET_TLS__CLIENT_CA, the authorities that are believed, and a certificate of "
        "the server; TRIVET_TLS__CLIENT_CERTIFICATE is then optional or required.",
    ),
    Rule(
        reads=("server.workers", "database.url"),
        title="database.url",
        broken=lambda s, given: (s.server.workers or 0) > 1 and s.database.private,
        problem="is a private database, and each worker would have its own",
        mend="Use a file (sqlite:///name.db), or one worker.",
    ),
    Rule(
        reads=("database.url", "database.replicas"),
        title="database.replicas",
        broken=lambda s, given: (
            bool(s.database.replicas)
            and not all(
                url.reveal().startswith(("postgresql://", "postgres://"))
                for url in (s.database.url, *s.database.replicas)
            )
        ),
        problem="only a database on PostgreSQL has replicas",
        mend="Name the primary with DATABASE_URL=postgresql://..., and its replicas in the same form.",
    ),
    Rule(
        reads=("database.url", "database.row_security"),
        title="database.row_security",
        broken=lambda s, given: (
            s.database.row_security != "off"
            and not s.database.url.reveal().startswith(("postgresql://", "postgres://"))
        ),
        problem="is on, and only PostgreSQL has row-level security",
        mend="Name a server with DATABASE_URL=postgresql://..., or leave it out: every statement has its tenant, too.",
    ),
    Rule(
        reads=("environment", "server.workers", "database.session_record"),
        title="database.session_record",
        broken=lambda s, given: not s.development and s.database.session_record == "memory" and s.server.workers != 1,
        problem="is the memory of one process, and a caller of several workers could miss what it wrote",
        mend="Leave it out, so that callers without a Consistency-Token read from the primary, or serve with one "
        "worker (WEB_CONCURRENCY=1).",
    ),
)
