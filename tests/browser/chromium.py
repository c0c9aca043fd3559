"""A real Chromium: the one that ``CHROMIUM`` names, the one that a package brings, or one that is installed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tools import node

PACKAGES = Path(__file__).resolve().parents[1] / "conformance"
UNPACK = Path(__file__).with_name("chromium.mjs")
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""
INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Chromium(NamedTuple):
    """Where a browser is, and what it needs to run."""

    path: str
    environ: dict[str, str]


def find() -> Chromium:
    """Return a browser.

    Raises:
        RuntimeError: There is none.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        return Chromium(named, {})
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return _unpacked()
    found = next(filter(None, map(shutil.which, INSTALLED)), None)
    if found is None:
        raise RuntimeError(
            "No Chromium: the one that npm's @sparticuz/chromium brings is for Linux on x86-64. Install Chromium or "
            "Chrome (Debian, Ubuntu: apt install chromium), or say where one is: CHROMIUM=/path/to/chromium."
        )
    return Chromium(found, {})


def _unpacked() -> Chromium:
    """Return the browser of the package, which needs nothing of the machine: no root, no libraries, no fonts."""
    installed = node.install(PACKAGES)
    folder = installed / "chromium"
    folder.mkdir(exist_ok=True)
    program = installed / UNPACK.name
    shutil.copy(UNPACK, program)
    with node.alone(installed.name):
        ended = subprocess.run(
            [node.NODE, program],
            env=os.environ | {"TMPDIR": str(folder)},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        )
    libraries = f"{folder / 'al2023' / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    fonts = folder / "fonts.conf"  # the package's own names places of a machine that this is not
    fonts.write_text(FONTS.format(fonts=folder / "fonts", cache=folder / "fonts-cache"))
    environ = {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_FILE": str(fonts), "HOME": str(folder)}
    return Chromium(ended.stdout.strip(), environ)
