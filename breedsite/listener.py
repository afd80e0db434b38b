"""The HTTP side of one web process: waitress, which reads a request whole before it takes a thread, so that a slow
sender costs a socket and nothing else.

Around it: a limit of the body for each path, refusals as problem+json, no patience without end for those who drip, and
an end that lets answers under way out first. There are more threads than places for predictions, so that the gate
refuses what is too much and a line of connections never forms before it.
"""

import contextlib
import copy
import functools
import socket
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import Error

from breedsite.prefork import Neighbours
from classifier.gate import OTHER, ROUTES, BodyLimits, Gate, overloaded, request_id, retry_after_seconds
from classifier.problems import document, written
from classifier.refusals import noted

MAX_HEADER_BYTES = 32 * 1024
CONNECTIONS = 1000
HEADER_SECONDS = 20.0  # for a request's header to arrive
BODY_SECONDS = 30.0  # after them a body must have come at SLOWEST on average
SLOWEST = 1024  # bytes per second
IDLE_SECONDS = 60  # a connection without a request
CLEANUP_SECONDS = 5  # between two looks at who drips or idles
UNFINISHED_BYTES = 1024**3  # of all bodies together that are still on their way
LINGER_SECONDS = 2.0  # a refused sender may go on sending, unheard, so that it reads the refusal
FREER_FIRST_SECONDS = 0.02  # in which a process with fewer connections may take a new one
LAST_ANSWERS_SECONDS = 5.0  # for requests under way after SIGTERM


@functools.lru_cache(maxsize=8)
def _limited(adjustments: Adjustments, max_body: int) -> Adjustments:
    limited = copy.copy(adjustments)
    limited.max_request_body_size = max_body + 1  # waitress refuses what reaches it
    return limited


class Parser(HTTPRequestParser):
    """Reads one request; its path decides how large the body may be."""

    def __init__(self, adjustments: Adjustments) -> None:
        super().__init__(adjustments)
        self.began = time.monotonic()
        self.path = "/"

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # a length of 5,000 digits, a bracket that does not close
            raise ParsingError("A number or an address cannot be read") from error
        finally:
            self.path = "/" + self.path.lstrip("/")
        self.adj: Adjustments = _limited(self.adj, self.adj.body_limits.of(self.path))

    def received(self, data: bytes) -> int:
        count = super().received(data)
        if self.error:
            self.expect_continue = False  # or waitress would ask for the body that it has just refused
        return int(count)

    @property
    def drips(self) -> bool:
        """Whether this request has had its time."""
        seconds = time.monotonic() - self.began
        if not self.headers_finished:
            return seconds > HEADER_SECONDS
        return seconds > BODY_SECONDS and self.body_bytes_received < SLOWEST * (seconds - BODY_SECONDS)


class Overloaded(Error):
    """Every place for predictions is taken."""

    code = HTTPStatus.SERVICE_UNAVAILABLE


class Refusal(ErrorTask):
    """What is refused before the application sees it, said as everything else is said."""

    def execute(self) -> None:
        error, path, gate, number = self.request.error, self.request.path, self.channel.server.gate, request_id()
        if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
            problem = overloaded(number)
            self.response_headers.append(("Retry-After", str(retry_after_seconds())))
        elif error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            problem = gate.limits.refusal(path, number)
        elif error.code == HTTPStatus.INTERNAL_SERVER_ERROR:
            problem = document("internal_error", "Something went wrong here. It has been noted.", request_id=number)
        elif error.code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            sentence = f"The request's header is too large: at most {MAX_HEADER_BYTES // 1024} KB are read."
            problem = document("malformed_request", sentence, request_id=number, status=int(error.code))
        else:
            problem = document("malformed_request", "This is not a request that can be read.", request_id=number)
        media_type, body = written(problem, path=path, accept=self.request.headers.get("ACCEPT", ""))
        status = HTTPStatus(int(str(problem["status"])))
        route, method = ROUTES.get(path, OTHER), getattr(self.request, "command", None)
        noted(status, path, number, reason=str(error.body), method=method, route=route)
        gate.tally.answered(route, status.value, str(problem["code"]), 0.0)
        self.status = f"{status.value} {status.phrase}"
        origin = self.request.headers.get("ORIGIN", "")
        self.response_headers += [("Content-Type", media_type), *gate.headers.of(number, path=path, origin=origin)]
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # then the request was read whole, and the next may come
            self.set_close_on_finish()
            self.channel.refused = True
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """One connection."""

    parser_class = Parser
    error_task_class = Refusal
    refused = False  # what was sent is not read to its end
    close_when_flushed: bool
    linger_until: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.requests_lock = threading.RLock()  # `received` holds it when `Listener.add_task` answers at once

    def handle_write(self) -> None:
        if self.refused and self.close_when_flushed and not self.will_close:
            # Closing on unread bytes resets the connection, and the refusal is lost with it: stop speaking, listen on.
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and not self.will_close:
                self.close_when_flushed = False
                self.linger_until = time.monotonic() + LINGER_SECONDS
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_write()

    def readable(self) -> bool:
        if self.linger_until is not None and time.monotonic() > self.linger_until:
            self.will_close = True
        return bool(super().readable())

    def received(self, data: bytes) -> bool:
        if self.linger_until is not None:
            return False
        return bool(super().received(data))

    @property
    def under_way(self) -> bool:
        return bool(self.requests or self.total_outbufs_len)


class Listener(TcpWSGIServer):
    """One listening address."""

    channel_class = Channel
    gate: Gate
    loop_thread: int
    neighbours: Neighbours | None = None

    def readable(self) -> bool:
        if self.neighbours:
            self.neighbours.tell(len(self._map))
        return bool(super().readable())

    def handle_accept(self) -> None:
        """Every process hears of a new connection, and whoever is quickest has it: the busier ones wait a moment."""
        if self.neighbours:
            self.neighbours.let_go_first(FREER_FIRST_SECONDS)
        super().handle_accept()  # which finds nothing where another has taken it

    def add_task(self, channel: Channel) -> None:
        """A crowd is turned away by the thread that reads: it would wait for another thread only to hear no."""
        request = channel.requests[0]
        reading = threading.get_ident() == self.loop_thread
        asked = request.error is None and request.command == "POST"
        if reading and asked and self.gate.full(request.path, request.body_bytes_received):
            request.error = Overloaded("")
            channel.service()
        else:
            super().add_task(channel)

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        self.next_channel_cleanup = now + CLEANUP_SECONDS
        receiving = [channel for channel in self.active_channels.values() if channel.request is not None]
        receiving.sort(key=lambda channel: channel.request.began, reverse=True)
        unfinished = 0
        for channel in receiving:  # the youngest first: the oldest go when memory is short
            unfinished += channel.request.body_bytes_received
            if channel.request.drips or unfinished > UNFINISHED_BYTES:
                channel.will_close = True


def bound(host: str, port: int) -> list[socket.socket]:
    """A socket for every address of `host`, bound but not listening yet. Raises OSError where one is taken."""
    sockets = []
    for family, kind, protocol, address in Adjustments(host=host, port=port).listen:
        door = socket.socket(family, kind, protocol)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        sockets.append(door)
    return sockets


def addresses(sockets: Sequence[socket.socket]) -> list[tuple[str, int]]:
    """Host and port of each, as numbers."""
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    named = [socket.getnameinfo(door.getsockname(), numeric) for door in sockets]
    return [(host, int(port)) for host, port in named]


class Server:
    """Listens on bound sockets, which other processes may share; `run` returns after `stop`, which a signal handler may
    call."""

    def __init__(
        self, gate: Gate, *, sockets: Sequence[socket.socket], threads: int, neighbours: Neighbours | None = None
    ) -> None:
        adjustments = self.adjustments(gate.limits, threads=threads)
        self.map: dict[int, Any] = {}
        self.dispatcher = ThreadedTaskDispatcher()
        self.listeners = [
            Listener(
                gate,
                self.map,
                _sock=door,
                dispatcher=self.dispatcher,
                adj=adjustments,
                sockinfo=(door.family, door.type, door.proto, door.getsockname()),
                bind_socket=False,
            )
            for door in sockets
        ]
        for listener in self.listeners:
            listener.gate = gate
            listener.neighbours = neighbours
        self.dispatcher.set_thread_count(threads)
        self.stopping = False

    @staticmethod
    def adjustments(limits: BodyLimits, *, threads: int) -> Adjustments:
        adjustments = Adjustments(
            threads=threads,
            ident=None,
            backlog=256,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            recv_bytes=128 * 1024,
            inbuf_overflow=2 * limits.predict,  # more than any body that may hold a photo: nothing on disk
            outbuf_overflow=16 * 1024**2,
            max_request_header_size=MAX_HEADER_BYTES,
            asyncore_use_poll=True,
            log_socket_errors=False,  # who hangs up is no event
            # Who is behind a proxy, TRUSTED_PROXIES says: Django reads the headers, if at all.
            clear_untrusted_proxy_headers=False,
            server_name="localhost",
        )
        adjustments.body_limits = limits  # each request's parser gets nothing else
        return adjustments

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return addresses([listener.socket for listener in self.listeners])

    def run(self) -> None:
        for listener in self.listeners:
            listener.loop_thread = threading.get_ident()
        while not self.stopping:
            wasyncore.poll2(timeout=1.0, map=self.map)
        for listener in self.listeners:
            listener.accepting = False
            listener.socket.close()
            listener.del_channel(self.map)
        end = time.monotonic() + LAST_ANSWERS_SECONDS
        while time.monotonic() < end and any(
            channel.under_way for listener in self.listeners for channel in listener.active_channels.values()
        ):
            wasyncore.poll2(timeout=0.05, map=self.map)
        self.dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self.map)

    def stop(self) -> None:
        self.stopping = True
        with contextlib.suppress(OSError):  # the loop saw it already, and has ended
            self.listeners[0].pull_trigger()
