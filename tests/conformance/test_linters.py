"""What strangers' linters say about the contract of the shop, and of a library that has every kind of face: nothing."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from tools import node

from tests.transports.library import Library
from trivet import About
from trivet.contracts.describe import describe
from trivet.contracts.model import Api
from trivet.contracts.openapi import document

RULES = Path(__file__).with_name("rules")
ABOUT = About(
    contact="The librarians", url="https://library.example/help", email="desk@library.example", license="Apache-2.0"
)
ERROR = 0

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]


def shop() -> Api:
    from shop.app import app

    api, faults = app.describe()
    assert faults == []
    return api


def library() -> Api:
    api, faults = describe("library", Library().modules, about=ABOUT)
    assert faults == []
    return api


APPS = {"shop": shop, "library": library}


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the documents, the rules and the packages that hold the linters."""
    folder = tmp_path_factory.mktemp("linters")
    (folder / "node_modules").symlink_to(node.install(Path(__file__).parent) / "node_modules")
    for rules in RULES.iterdir():
        (folder / rules.name).write_text(rules.read_text(encoding="utf-8"), encoding="utf-8")
    for name, api in APPS.items():
        (folder / f"{name}.json").write_text(json.dumps(document(api())), encoding="utf-8")
    return folder


def run(bench: Path, package: str, *arguments: str) -> Any:
    """Run the command of a package; return the JSON that it prints."""
    manifest = json.loads((bench / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
    program = next(iter(manifest["bin"].values()))
    command = [node.NODE, bench / "node_modules" / package / program, *arguments]
    ended = subprocess.run(command, cwd=bench, check=False, capture_output=True, text=True, timeout=300)
    assert ended.returncode in (0, 1), ended.stderr
    return json.loads(ended.stdout)


def spectral(bench: Path, rules: str, app: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run(
        bench, "@stoplight/spectral-cli", "lint", "--ruleset", rules, "--format", "json", f"{app}.json"
    )
    return found


def errors(found: list[dict[str, Any]]) -> list[str]:
    return [f"{x['code']} at {'/'.join(map(str, x['path']))}: {x['message']}" for x in found if x["severity"] == ERROR]


@pytest.mark.parametrize(
    ("rules", "app"),
    [("owasp.yaml", "shop"), ("owasp-library.yaml", "library"), ("zalando.yaml", "shop"), ("zalando.yaml", "library")],
)
def test_spectral_finds_no_error(rules: str, app: str, bench: Path) -> None:
    assert errors(spectral(bench, rules, app)) == []


@pytest.mark.parametrize("app", APPS)
def test_redocly_finds_nothing(app: str, bench: Path) -> None:
    report = run(bench, "@redocly/cli", "lint", "--config", "redocly.yaml", "--format", "json", f"{app}.json")
    assert report["totals"]["errors"] == report["totals"]["warnings"] == 0, report["problems"]


@pytest.mark.parametrize("app", APPS)
def test_the_validator_of_the_specification_accepts_it(app: str) -> None:
    validate(document(APPS[app]()))


def test_the_rules_find_what_is_planted(bench: Path) -> None:
    planted = json.loads((bench / "shop.json").read_text(encoding="utf-8"))
    operation = planted["paths"].pop("/v1/orders/{id}:cancel")
    planted["paths"]["/v1/orders/{id}:Cancel_it"] = operation
    operation["post"]["security"] = []
    operation["post"]["parameters"].append({"name": "access_token", "in": "query", "schema": {"type": "string"}})
    operation["post"]["responses"].pop("default")
    del planted["components"]["schemas"]["Problem"]["properties"]["status"]["format"]
    planted["info"].pop("license")
    (bench / "planted.json").write_text(json.dumps(planted), encoding="utf-8")
    found = {x["code"] for rules in ("owasp.yaml", "zalando.yaml") for x in spectral(bench, rules, "planted")}
    assert found >= {
        "owasp:api2:2023-no-credentials-in-url",
        "owasp:api2:2023-write-restricted",
        "owasp:api4:2023-string-limit",
        "must-use-lowercase-with-hypens-for-path-segements",
        "must-use-valid-problem-json-schema",
        "must-specify-default-response",
    }
    redocly = run(bench, "@redocly/cli", "lint", "--config", "redocly.yaml", "--format", "json", "planted.json")
    assert Counter(x["ruleId"] for x in redocly["problems"])["info-license"] == 1
