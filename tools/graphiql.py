"""GraphiQL as the package brings it: ``python tools/graphiql.py`` makes it anew of the npm packages that are locked.

Nothing is built: the scripts are those that the packages bring for browsers, one after the other. Typefaces are left
out of the style sheet, so that nothing but scripts has a licence to keep; those are written beside them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS.parent))

from tools import node  # noqa: E402 - found by the line before, also where this is run as a script

PACKAGES = TOOLS / "graphiql_node"
TARGET = TOOLS.parent / "src" / "trivet" / "transports" / "graphql" / "graphiql"
SCRIPTS = ("react/umd/react.production.min.js", "react-dom/umd/react-dom.production.min.js", "graphiql/graphiql.min.js")
STYLE = "graphiql/graphiql.min.css"
TYPEFACE = re.compile(r"@font-face\s*\{[^}]*\}")
MAP = re.compile(r"\n//# sourceMappingURL=\S+")


def made() -> dict[str, bytes]:
    """Return the files by their names."""
    modules = node.install(PACKAGES) / "node_modules"
    scripts = [MAP.sub("", (modules / name).read_text(encoding="utf-8")).strip() + "\n" for name in SCRIPTS]
    style = TYPEFACE.sub("", (modules / STYLE).read_text(encoding="utf-8")).strip() + "\n"
    licences = "\n\n".join(_licences(modules)) + "\n"
    return {
        "graphiql.js": "".join(scripts).encode(),
        "graphiql.css": style.encode(),
        "LICENCES.txt": licences.encode(),
    }


def _licences(modules: Path) -> Iterator[str]:
    """Yield the licence of each package, in the order of their names."""
    lock = json.loads((PACKAGES / "package-lock.json").read_text(encoding="utf-8"))
    for place in sorted(lock["packages"]):
        folder = modules.parent / place
        if not place or not folder.is_dir():  # the project itself, and what is for other machines
            continue
        described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        texts = [path for path in sorted(folder.iterdir()) if re.match(r"licen[cs]e|notice", path.name, re.IGNORECASE)]
        text = "\n\n".join(path.read_text(encoding="utf-8").strip() for path in texts)
        title = f"{described['name']} {described['version']} ({described['license']})"
        yield f"{title}\n{'-' * len(title)}\n\n{text or 'The package has no text beside the name of its licence.'}"


def main() -> int:
    """Write the files."""
    TARGET.mkdir(exist_ok=True)
    for name, content in made().items():
        (TARGET / name).write_bytes(content)
        print(f"wrote {TARGET / name}, {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
