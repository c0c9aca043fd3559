"""The library behind a real server: ``library_server:app``."""

from tests.transports.library import Library
from trivet import App

app = App("library", modules=Library().modules)
