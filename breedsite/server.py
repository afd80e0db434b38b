"""The web server: `python -m breedsite.server` listens on HOST and PORT, says so in one line, and serves until SIGTERM.

WEB_PROCESSES processes share the address, each with a network and a line of its own (`breedsite.prefork`); with one,
this process serves itself. Where PREDICT_DEVICE gives them a device, the process that owns it is started beside them.
"""

import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from django.core.exceptions import ImproperlyConfigured

from breedsite.companion import Companion
from breedsite.launcher import as_object
from breedsite.listener import CONNECTIONS, Server, addresses, bound
from breedsite.prefork import Neighbours, Processes
from breedsite.tether import LIBC
from classifier.devices import has_driver

log = logging.getLogger(__name__)

SPARE_THREADS = 8  # beyond the places for predictions: pages, the admin, refusals
LARGE_BLOCK_BYTES = 4 * 1024**2
TIDY_SECONDS = 10.0
M_MMAP_THRESHOLD = -3  # of mallopt(3)
# How long a thread may keep the interpreter while another wants it. Python's own 5 ms is longer than a forward pass:
# threads that come back from one would wait for it, and cores stand idle.
SWITCH_SECONDS = 0.0005


def raise_file_limit() -> None:
    """Room for every connection's descriptor: many systems start processes with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(4 * CONNECTIONS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_memory_back() -> None:
    """Blocks above LARGE_BLOCK_BYTES come from the kernel each for itself and return there when they are freed.

    By itself glibc soon keeps them: after 64 bodies of 14 MB at once the process stayed at 2 GB, for ever.
    """
    if LIBC is not None and hasattr(LIBC, "mallopt"):  # glibc alone has it
        LIBC.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def tidy(over: threading.Event) -> None:
    """Free what nobody needs, again and again until the end, and hand the allocator's free pages back to the system.

    A request of Django's holds itself, and with it the bytes of its photo, until the collector comes by, which may take
    thousands of requests. Beside large pictures small blocks are taken between large ones, whose pages would stay.
    """
    while not over.wait(TIDY_SECONDS):
        gc.collect()  # a few milliseconds: what was there before the first request is frozen
        if LIBC is not None and hasattr(LIBC, "malloc_trim"):
            LIBC.malloc_trim(0)


def serve(sockets: Sequence[socket.socket], ready: Callable[[], object], neighbours: Neighbours | None = None) -> None:
    """Load the active version, then answer what comes to these sockets, until SIGTERM or SIGINT."""
    from django.apps import apps
    from django.urls import resolve

    from breedsite.wsgi import application
    from classifier.apps import ClassifierConfig

    classifier = apps.get_app_config("classifier")
    assert isinstance(classifier, ClassifierConfig)

    give_memory_back()
    sys.setswitchinterval(SWITCH_SECONDS)
    classifier.start()
    resolve("/")  # reads every view, which a first visitor of each process would wait for
    threads = application.places + SPARE_THREADS
    server = Server(application, sockets=sockets, threads=threads, neighbours=neighbours)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    over = threading.Event()
    gc.collect()
    gc.freeze()  # code and settings stay to the end: no collection needs to look at them, which would take 0.1 s
    threading.Thread(target=tidy, args=(over,), name="tidy", daemon=True).start()
    ready()
    server.run()
    over.set()
    classifier.stop()


def engine() -> Companion | None:
    """The process that owns the GPU which the settings give to web requests, if they do."""
    from django.conf import settings

    if settings.ENGINE_SOCKET is None:
        return None
    if settings.PREDICT_DEVICE.startswith("cuda") and not has_driver():
        log.warning(
            "PREDICT_DEVICE is %s, but this machine has no driver of a GPU: ONNX Runtime on the processor answers.",
            settings.PREDICT_DEVICE,
        )
        return None
    words = ["--socket", settings.ENGINE_SOCKET, "--device", settings.PREDICT_DEVICE, "--log", settings.LOG_FORMAT]
    command = [sys.executable, "-m", "classifier.engines.resident", *words]
    return Companion("engine process", [str(word) for word in command])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
    from django.conf import settings
    from django.utils.log import configure_logging

    try:
        host, port, processes = settings.HOST, settings.PORT, settings.WEB_PROCESSES
        configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)  # the parent loads no app, which would do it
    except ImproperlyConfigured as error:
        sys.exit(f"breedsite cannot start: {error}")
    raise_file_limit()
    try:
        sockets = bound(host, port)
    except OSError as error:
        sys.exit(f"breedsite cannot listen on {host}:{port} ({error.strerror}): set PORT to another.")

    def announce() -> None:
        for name, number in addresses(sockets):
            said = f"listening on http://{f'[{name}]' if ':' in name else name}:{number}"
            print(as_object(said, "web") if settings.LOG_FORMAT == "json" else said, flush=True)

    beside = engine()
    if processes <= 1 and beside is None:
        serve(sockets, announce)
    else:
        sys.exit(Processes(max(1, processes), partial(serve, sockets), announce, doors=sockets, companion=beside).run())


if __name__ == "__main__":
    main()
