"""The process that owns torch and a device, and answers the web processes of its machine over a unix socket.

    python -m classifier.engines.resident --socket PATH --device cuda:0

It takes decoded pictures as `classifier.engines.wire` says and gives logits back. What waits while a pass is made goes
through the network together in the next one. It ends with DEVICE_LOST where only a new process can use the device
again, and with NO_DEVICE where there is none: whoever started it knows by that whether to start it again.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from classifier import logs
from classifier.artifact import DeviceLost, Engine
from classifier.engines import wire
from classifier.engines.gather import Gather
from classifier.engines.held import Versions
from classifier.engines.onnx import EngineError
from classifier.engines.wire import Kind, NotOurs, Outcome, Reply, Request
from classifier.ensemble import verified
from classifier.spec import Spec

log = logging.getLogger("classifier.engines.resident")  # its own name is __main__

DEVICE_LOST = 75
NO_DEVICE = 69
MOST_TOGETHER = 64  # pictures in a pass
CONNECTIONS = 512
BODY_SECONDS = 10.0  # for the rest of a request that has begun
STUCK_SECONDS = 60.0  # a pass takes milliseconds: after so long the device is as good as lost
LOAD_SECONDS = 600.0  # a load takes seconds, or minutes from a slow disk
WARM = (1, 2, 4, 8, 16, 32, 64)  # pictures in the first passes, which take long: kernels are loaded when they are used
# The thread that makes passes wants the interpreter often and shortly, beside those that read and write.
SWITCH_SECONDS = 0.0005


class Server:
    """Answers what comes through `door`, each connection in a thread of its own."""

    def __init__(self, door: socket.socket, versions: Versions, gather: Gather) -> None:
        self.door = door
        self.versions = versions
        self.gather = gather
        self._places = threading.BoundedSemaphore(CONNECTIONS)

    def run(self, look: Callable[[], None], *, seconds: float = 1.0) -> None:
        """Until `look`, which is called every `seconds` or so, raises or ends the process."""
        self.door.settimeout(seconds)
        while True:
            look()
            try:
                line, _ = self.door.accept()
            except TimeoutError:
                continue
            if not self._places.acquire(blocking=False):
                line.close()
                continue
            threading.Thread(target=self._serve, args=(line,), name="connection", daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            with line:
                while (request := wire.receive_request(line, body_seconds=BODY_SECONDS)) is not None:
                    wire.send_reply(line, self.answer(request))
        except NotOurs as error:
            log.warning("Hung up on a caller: %s.", error)
        except OSError as error:
            log.info("A caller is gone: %s", error)
        finally:
            self._places.release()

    def answer(self, request: Request) -> Reply:
        """Raises NotOurs."""
        if request.kind == Kind.LOAD:
            return self._loaded(request)
        held = self.versions.get(request.digest)
        if held is None:
            return self._not_there(request.digest)
        if request.side != held.spec.preprocessing.crop:
            raise NotOurs(f"{held.spec.name} sees pictures of {held.spec.preprocessing.crop} pixels")
        try:
            found = self.gather.ask(held.through, request.pixels).result()
        except EngineError as error:
            self.versions.let_go(held, str(error))
            return self._not_there(request.digest)
        device = held.device
        self.versions.left_its_device(held)
        return wire.answering(found.logits, device, together=found.together)

    def _loaded(self, request: Request) -> Reply:
        try:
            folder = Path(request.folder)
        except UnicodeDecodeError as error:
            raise NotOurs("a path is UTF-8") from error
        held = self.versions.want(request.digest, folder)
        return self._not_there(request.digest) if held is None else Reply(Outcome.READY, held.device)

    def _not_there(self, digest: str) -> Reply:
        if sentence := self.versions.failure(digest):
            return Reply(Outcome.CANNOT, body=sentence.encode())
        return Reply(Outcome.LOADING)


def leave(error: DeviceLost | str) -> None:
    """At once, whatever thread this is: who waits for an answer gets it elsewhere."""
    log.critical("%s; this process ends, for only another one can use the device again.", error)
    logging.shutdown()
    os._exit(DEVICE_LOST)


def loaded(folder: Path, digest: str, *, device: str) -> tuple[Spec, Engine]:
    """A verified version, ready on its device. Raises ArtifactError, DeviceLost."""
    spec, engine = verified(folder, digest, threads=1, device=device)
    if not device.startswith("cpu"):
        warm(engine, spec.preprocessing.crop)
    return spec, engine


def warm(engine: Engine, side: int) -> None:
    """Make passes before anybody waits for one."""
    for size in WARM:
        engine(np.zeros((size, side, side, 3), np.uint8))


def watch(gather: Gather, versions: Versions) -> None:
    """Leave where passes are no longer made, or a load does not end."""
    if versions.busy_seconds > LOAD_SECONDS:
        leave(f"A version is not loaded within {LOAD_SECONDS:.0f} s")
    if gather.busy_seconds > STUCK_SECONDS:
        leave(f"A pass has not ended within {STUCK_SECONDS:.0f} s")
    if not gather.alive:
        leave("The thread that makes passes has ended")


def own(address: Path) -> int:
    """Wait until no other process of this machine serves at `address`; the lock ends with this one."""
    lock = os.open(address.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def listen(address: Path) -> socket.socket:
    """A socket that this user alone may connect to; one that a killed process left behind gives way."""
    with suppress(FileNotFoundError):
        address.unlink()
    before = os.umask(0o177)
    try:
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(address))
    finally:
        os.umask(before)
    door.listen(CONNECTIONS)
    return door


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m classifier.engines.resident", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--device", required=True, help="torch's name of it: cuda, cuda:1; cpu:0 to try it without one")
    parser.add_argument("--log", choices=("line", "json"), default="line", help="the form of its log")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to put away, hence nothing to be said at the end
    logs.to_stderr(options.log)
    lock = own(options.socket)
    from classifier.engines.torch import exists  # seconds and memory, which who waits for the lock does not need

    device = "cuda:0" if options.device == "cuda" else options.device
    if not exists(device):
        log.warning("There is no device %s: ONNX Runtime on the processor answers in its place.", device)
        sys.exit(NO_DEVICE)
    sys.setswitchinterval(SWITCH_SECONDS)
    versions = Versions(partial(loaded, device=device), device=device, lost=leave)
    gather = Gather(MOST_TOGETHER)
    gather.start()
    server = Server(listen(options.socket), versions, gather)
    log.info("The engine on %s listens.", device)
    try:
        server.run(partial(watch, gather, versions))
    finally:
        os.close(lock)


if __name__ == "__main__":
    main()
