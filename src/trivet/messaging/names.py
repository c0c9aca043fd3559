"""The names of event types in the store: ``module.Name``.

An event's class does not say which module it belongs to, because a model imports no module. Where it is written says
it: it belongs to the module whose directory is the nearest one above its file. Where one file declares several
modules, it is the last one that is declared above the class.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import PurePath

from trivet.core.event import Event
from trivet.core.fault import place_of
from trivet.core.module import Module


class EventNames:
    """Gives every event class its name, the same one in every process.

    Args:
        modules: The modules of the app, in the app's order.
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        self._modules = tuple(modules)
        self._names: dict[type[Event], str] = {}
        self._classes: dict[str, type[Event]] = {}

    def of(self, event: type[Event]) -> str:
        """Return the name of an event class.

        Raises:
            ValueError: Another class has that name already.
        """
        name = self._names.get(event)
        if name is None:
            module = owner_of(event, self._modules)
            name = f"{module.name}.{event.__name__}" if module else event.__name__
            taken = self._classes.setdefault(name, event)
            if taken is not event:
                places = f"{place_of(taken)} and {place_of(event)}"
                raise ValueError(f"two events are called {name}, at {places}: rename one")
            self._names[event] = name
        return name


def owner_of(event: type[Event], modules: Sequence[Module]) -> Module | None:
    """Return the module that the class belongs to by where it is written; ``None`` outside of every module."""
    written = getattr(sys.modules.get(event.__module__), "__file__", None)
    if not written:
        return None
    file = os.path.abspath(written)
    around = [m for m in modules if PurePath(file).is_relative_to(_directory(m))]
    if not around:
        return None
    depth = max(len(_directory(m).parts) for m in around)
    nearest = [m for m in around if len(_directory(m).parts) == depth]
    beside = [m for m in nearest if os.path.abspath(m.place.file) == file] or nearest
    if len(beside) == 1:
        return beside[0]
    line = place_of(event).line
    above = [m for m in beside if m.place.line < line]
    return max(above, key=lambda m: m.place.line) if above else beside[0]


def _directory(module: Module) -> PurePath:
    return PurePath(os.path.abspath(module.place.file)).parent
