"""The documentation is true: its code runs, what it names exists, what is made from the code is current."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.console import blocks
from trivet import App
from trivet.policies import chain
from trivet.testing import Client

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
NAMED = re.compile(r"`(?P<file>[\w/]+\.py)` `(?P<name>\w+)`")
LINK = re.compile(r"\]\((?P<target>[^)#\s]+\.md)[^)]*\)")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def functions() -> Iterator[tuple[str, str]]:
    for match in NAMED.finditer((DOCS / "way-of-a-request.md").read_text(encoding="utf-8")):
        yield match["file"], match["name"]


@pytest.mark.parametrize(("file", "name"), sorted(set(functions())))
def test_the_way_of_a_request_names_what_exists(file: str, name: str) -> None:
    source = (ROOT / ("examples" if file.startswith("shop/") else "src/trivet") / file).read_text(encoding="utf-8")
    assert re.search(rf"^\s*(async def|def|class) {name}\b", source, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def drawn(name: str) -> list[str]:
    """Return what the boxes of a drawing are called."""
    drawing = (DOCS / "explanation" / name).read_text(encoding="utf-8")
    return re.findall(r'<text class="name"[^>]*>([^<]+)<', drawing)


def test_the_drawing_of_the_floors_has_every_package_in_its_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    [layers] = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    source = ROOT / "src" / "trivet"
    floors = [name for layer in layers for name in re.findall(r"\w+", layer)]
    built = [name for name in floors if (source / f"{name}.py").exists() or (source / name / "__init__.py").exists()]
    order = {name: i for i, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    assert sorted(drawn("floors.svg")) == sorted(built)
    assert [order[name] for name in drawn("floors.svg")] == sorted(order[name] for name in built)


def test_the_drawing_of_the_chain_has_every_policy_in_its_order() -> None:
    names = [policy.__name__ for policy in (*chain.GATE, *chain.CALL, *chain.NESTED)]
    assert [name for name in drawn("chain.svg") if name in names] == [
        *(policy.__name__ for policy in (*chain.GATE, *chain.CALL)),
        *(policy.__name__ for policy in reversed(chain.NESTED)),  # drawn upwards
    ]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [
        page for page in PAGES if DOCS in page.parents and f" {page.relative_to(DOCS)}\n" not in navigation + "\n"
    ] == []


def test_the_reference_is_what_the_code_says() -> None:
    reference = load(ROOT / "tools" / "reference.py", "reference")
    for path, wanted in reference.pages().items():
        assert path.read_text(encoding="utf-8") == wanted, "run: python tools/reference.py"


def test_the_error_of_the_explanation_behaves_as_it_says() -> None:
    [block] = blocks((DOCS / "explanation" / "errors.md").read_text(encoding="utf-8"))
    exec(block.body, {"__name__": "errors_page"})


async def test_the_first_operation_of_the_readme_runs(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    [code] = [block.body for block in blocks(page) if block.body.startswith("# notes.py")]
    file = tmp_path / "notes.py"
    file.write_text(code, encoding="utf-8")
    app = load(file, "readme_notes").app
    assert isinstance(app, App)
    async with Client(app) as client:
        created = await client.post("/v1/notes", json={"text": "milk"})
        assert (created.status, created.json()["text"]) == (201, "milk")
        assert (await client.get("/v1/notes")).json() == {"items": [created.json()]}


def load(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved there
    spec.loader.exec_module(module)
    return module
