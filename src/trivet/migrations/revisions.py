"""The revisions of a part as they are in its directory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.migrations.part import Part

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory

FIRST = "0001"


class WrongRevisions(Exception):
    """The revisions of a part do not make one line; the message says which, and what to do."""


class Revision(Struct):
    """One step.

    Attributes:
        part: Whose it is.
        id: Its number.
        title: What it does, in a line.
        file: Where it is written.
    """

    part: str
    id: str
    title: str
    file: str


def script_directory(part: Part) -> ScriptDirectory:
    """Return Alembic's view of a part's directory, which exists."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(part.directory), version_locations=[str(part.directory)])


def scripts_of(part: Part) -> list[Script]:
    """Return a part's revisions, the oldest first; none where it has no directory.

    Raises:
        WrongRevisions: Two follow the same one, one follows nothing that is there, or a file can not be read.
    """
    from alembic.util.exc import CommandError

    if not part.directory.is_dir():
        return []
    scripts = script_directory(part)
    try:
        heads = scripts.get_heads()
        if len(heads) > 1:
            files = ", ".join(sorted(Path(scripts.get_revision(head).path).name for head in heads))
            raise WrongRevisions(
                f"{part.name} has {len(heads)} newest revisions, {files} in {part.directory}: two branches met. "
                "Give the later one the next number, and let its down_revision name the other"
            )
        return list(reversed(list(scripts.walk_revisions())))
    except (CommandError, SyntaxError, ImportError, AttributeError) as wrong:
        raise WrongRevisions(f"{part.name}: {wrong} (in {part.directory})") from wrong


def revision_of(part: Part, script: Script) -> Revision:
    """Return what there is to say about a revision."""
    title = (script.doc or "").strip().split("\n", 1)[0]
    return Revision(part=part.name, id=script.revision, title=title, file=script.path)


def next_id(scripts: Sequence[Any]) -> str:
    """Return the number of the revision that comes next."""
    numbers = [int(script.revision) for script in scripts if script.revision.isdecimal()]
    return f"{max(numbers, default=0) + 1:04}"


def slug_of(title: str) -> str:
    """Return a title as it stands in the name of a file."""
    return "_".join(re.findall(r"[a-z0-9]+", title.lower()))[:50].rstrip("_") or "revision"
