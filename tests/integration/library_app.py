"""The library of the transports' tests as an app of its own, to be served by a real server."""

from __future__ import annotations

from tests.transports.library import Library
from trivet import App

app = App("library", modules=Library().modules)
