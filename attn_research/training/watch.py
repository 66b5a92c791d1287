"""A watch of the processes of one run over each other: where one dies, the others stop.

Every process keeps a connection to the primary, which the system closes when the process ends,
however it ends. One that ends in order says so before. A machine that is gone closes nothing: after
a while JAX's own heartbeat stops the others there.
"""

import atexit
import contextlib
import logging
import os
import socket
import sys
import threading
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

GOODBYE, SECONDS_TO_CONNECT = b".", 30.0
_connections: list[socket.socket] = []


def start(host: str | None) -> None:
    """Connects all processes with the primary; each of them calls it.

    The others reach the primary at `host`, or by its own name where that is None. Where connections
    of their own are not allowed, there is no watch but JAX's.
    """
    if jax.process_count() == 1:
        return
    primary = jax.process_index() == 0
    server = socket.create_server(("", 0)) if primary else None
    port = server.getsockname()[1] if server else 0
    address = f"{host or socket.getfqdn()}:{port}".encode()[-256:].ljust(256)
    words = multihost_utils.broadcast_one_to_all(np.frombuffer(address, np.uint8))
    host, _, port = bytes(np.asarray(words, np.uint8)).decode().strip().rpartition(":")
    atexit.register(stop)
    try:
        if server:
            server.settimeout(SECONDS_TO_CONNECT)
            with server:
                for _ in range(jax.process_count() - 1):
                    _watch(server.accept()[0])
        else:
            connection = socket.create_connection((host, int(port)), SECONDS_TO_CONNECT)
            connection.sendall(jax.process_index().to_bytes(4, "little"))
            _watch(connection, 0)
    except OSError as error:
        logging.info("processes do not watch each other: %s", error)


def stop() -> None:
    """Tells the other processes that this one ends in order."""
    while _connections:
        with contextlib.suppress(OSError):
            connection = _connections.pop()
            connection.sendall(GOODBYE)
            connection.close()


def _watch(connection: socket.socket, process: int | None = None) -> None:
    connection.settimeout(None)
    if process is None:
        process = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "little")
    _connections.append(connection)
    threading.Thread(target=_wait, args=(connection, process), daemon=True).start()


def _wait(connection: socket.socket, process: int) -> None:
    try:
        word = connection.recv(1)
    except OSError:
        word = b""
    if word != GOODBYE and connection in _connections:
        _end(process)


def _end(process: int) -> NoReturn:
    name = "the primary process" if process == 0 else f"process {process}"
    print(
        f"error: {name} of this run ended, and so does this one: see what that one said, then "
        "start all of them again with --resume",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
