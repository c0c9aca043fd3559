"""Serving an application from a command: binds the sockets, runs the supervisor, says where everything is."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from trivet.core.shape import Struct
from trivet.server.cores import usable_cores
from trivet.server.envoy.available import missing
from trivet.server.launcher import Launcher, UvicornLauncher
from trivet.server.listen import CannotListen, listen, url_of
from trivet.server.loading import Target
from trivet.server.private import private_directory
from trivet.server.process import environment
from trivet.server.reload import Watch
from trivet.server.supervisor import Supervisor
from trivet.server.tls import CertificateStore
from trivet.settings import Settings, environment_of
from trivet.settings.load import Provenance
from trivet.telemetry.log import Logger, Sink

DESCRIPTORS = 65_536


class CannotServe(Exception):
    """The server that was asked for can not run here; the message says why and what to do."""


class Address(Struct):
    """Where a running application is.

    Attributes:
        url: Where requests go.
        management_url: Where `/metrics` is; ``None`` when it is off.
    """

    url: str
    management_url: str | None


def serve(
    target: Target,
    settings: Settings,
    provenance: Provenance,
    *,
    flags: Mapping[str, Any],
    reload: bool = False,
    started: Callable[[Address], None] | None = None,
    failed: Callable[[str], None],
    colour: bool = False,
) -> int:
    """Serve until a signal; returns the exit status.

    Args:
        target: The application.
        settings: What the process was told.
        provenance: Where each setting came from.
        flags: Settings of the command line by path; workers get them through their environment.
        reload: Whether workers are replaced when files change.
        started: Called once with the addresses, when everything serves.
        failed: Called with the reason when the application can not be served.
        colour: Whether log lines for people are coloured.

    Raises:
        CannotListen: A port is taken, or an address is not this machine's.
        CannotUseCertificate: The files of the certificate can not be used.
        CannotServe: Envoy, or a core for each worker, was asked for and can not be had here.
    """
    server = settings.server
    if server.pin and not hasattr(os, "sched_setaffinity"):
        raise CannotServe("This system keeps no process to a core.\n    Set TRIVET_SERVER__PIN=false.")
    log = Logger(Sink(format=settings.log.format, level=settings.log.level, colour=colour))
    serving = listen(
        server.host,
        server.port,
        backlog=server.backlog,
        setting=str(provenance["server.host"]),
        mend="choose another with --port or PORT",
    )
    management = _listen_management(settings, provenance)
    address = Address(
        url=url_of(serving, tls=settings.tls.certificate is not None),
        management_url=url_of(management) if management else None,
    )
    envoy = _envoy(settings, log)
    # Replaced workers must read what their predecessors signed, also when the key is a random one.
    told = {**flags, "secret_key": settings.secret_key, "environment": settings.environment}
    if management:  # their pages link to the port that was found, not to the one that was asked for
        told["server.management_port"] = management[0].getsockname()[1]

    workers = server.workers or (1 if settings.database.private else usable_cores())
    environ = environment(environment_of({path: value for path, value in told.items() if value is not None}))

    def begun() -> None:
        log.info(
            "serving",
            url=address.url,
            management_url=address.management_url or "off",
            workers=workers,
            server="envoy" if envoy else "uvicorn",
        )
        if started is not None:
            started(address)

    directory = private_directory()

    _allow_descriptors()

    async def run() -> int:
        certificate = None
        if settings.tls.certificate is not None:
            certificate = CertificateStore(settings.tls, directory, log)
            certificate.open()
        launcher: Launcher
        if envoy:
            from trivet.server.envoy.launcher import EnvoyLauncher, reserve

            launcher = EnvoyLauncher(target, reserve(serving), settings, environ, log, directory, certificate)
        else:
            launcher = UvicornLauncher(target, serving, environ, certificate)
        supervisor = Supervisor(
            launcher,
            workers,
            server,
            management=management,
            log=log,
            certificate=certificate,
            patient=settings.development,
            watch=Watch([target.directory]) if reload else None,
            started=begun,
            failed=failed,
        )
        return await supervisor.run()

    try:
        return asyncio.run(run())
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for sock in (*serving, *management):
            with suppress(OSError):
                sock.close()


def _allow_descriptors() -> None:
    """Let workers open as many descriptors as they need, if they may: each connection takes one."""
    try:
        import resource
    except ImportError:
        return  # not on this system
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, DESCRIPTORS)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _envoy(settings: Settings, log: Logger) -> bool:
    """Whether Envoy serves.

    Raises:
        CannotServe: It was asked for and can not run here.
    """
    if settings.server.kind == "uvicorn":
        return False
    lacks = missing()
    if lacks is None:
        return True
    if settings.server.kind == "envoy":
        raise CannotServe(f"Envoy can not serve here: {lacks}\n    Mend that, or set TRIVET_SERVER__KIND=uvicorn.")
    log.warning(f"uvicorn serves, without HTTP/2 and HTTP/3, because Envoy can not: {lacks}")
    return False


def _listen_management(settings: Settings, provenance: Provenance) -> list[socket.socket]:
    """Bind the management listener; in development the default port gives way when it is taken."""
    server = settings.server
    if server.management_port is None:
        return []

    def at(port: int) -> list[socket.socket]:
        return listen(
            server.management_host,
            port,
            backlog=64,
            setting=str(provenance["server.management_host"]),
            mend="choose another for management with TRIVET_SERVER__MANAGEMENT_PORT, or off",
        )

    try:
        return at(server.management_port)
    except CannotListen:
        if settings.development and provenance["server.management_port"].kind == "default":
            return at(0)
        raise
