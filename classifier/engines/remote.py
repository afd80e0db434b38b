"""Ask the engine process of this machine (`classifier.engines.resident`) from a web process, which never loads torch.

Whatever is wrong over there, nobody here waits long for it or fails: `ask` gives None, and whoever asks answers with
the engine of its own process.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifier.engines import wire
from classifier.engines.wire import HungUp, Kind, NotOurs, Outcome, Reply, Request

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0  # a pass and those before it take a tenth of this
SILENT_SECONDS = 10.0  # one that did not answer in time is not asked again for so long
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Answer:
    logits: np.ndarray  # float32 (B, K)
    device: str
    together: int  # pictures that had the same pass


class Remote:
    """The engine process at the unix socket `address`, from any number of threads.

    `want` names the version that it should hold, and `tend`, called every second or so, sees to it: it alone finds out
    whether a process that was away is back. Meanwhile `ask` does not even try.
    """

    def __init__(self, address: Path, *, ask_seconds: float = ASK_SECONDS) -> None:
        self.address = address
        self.ask_seconds = ask_seconds
        self.well = False  # it answered last time
        self.device: str | None = None  # where the wanted version is held
        self._wanted: Request | None = None
        self._again_at = 0.0  # monotonic seconds
        self._told: str | None = None  # what was logged last
        self._idle: deque[socket.socket] = deque()  # connections

    def want(self, digest: str, folder: Path) -> None:
        self._wanted = Request(Kind.LOAD, digest, bytes(folder.resolve()))

    def tend(self, *, longest_seconds: float = 0.0) -> None:
        """See whether it is there and holds the wanted version, for which this waits so long."""
        end = time.monotonic() + longest_seconds
        while (wanted := self._wanted) is not None and time.monotonic() >= self._again_at:
            reply = self._reply(wanted)
            if reply is None:
                return
            self.well, self.device = True, reply.device if reply.outcome == Outcome.READY else None
            if reply.outcome == Outcome.READY:
                self._tell(f"The engine process answers on {reply.device}.", logging.INFO)
            elif reply.outcome == Outcome.CANNOT:
                self._tell(f"The engine process cannot answer, this process does: {reply.sentence}", logging.WARNING)
            if reply.outcome != Outcome.LOADING or time.monotonic() >= end:
                return
            time.sleep(POLL_SECONDS)

    def ask(self, digest: str, pixels: np.ndarray, *, labels: int) -> Answer | None:
        """uint8 (B, H, H, 3) -> logits (B, labels) of that version; None where there is no answer to be had now."""
        if not self.well:
            return None
        reply = self._reply(wire.asking(digest, pixels))
        if reply is None or reply.outcome != Outcome.READY:
            return None
        if (reply.rows, reply.labels) != (len(pixels), labels) or not np.isfinite(reply.logits).all():
            self._away(f"an answer of {reply.rows} x {reply.labels} numbers, not all of them finite")
            return None
        return Answer(reply.logits, reply.device, reply.together)

    def close(self) -> None:
        self._wanted = None
        self._drop()

    def _reply(self, request: Request) -> Reply | None:
        try:
            while True:
                try:
                    line, fresh = self._idle.pop(), False
                except IndexError:
                    line, fresh = self._connected(), True
                try:
                    reply = self._through(line, request)
                except (HungUp, BrokenPipeError, ConnectionResetError):
                    line.close()
                    if fresh:
                        raise
                    continue  # it was idle while the process ended, perhaps another one is there
                except BaseException:
                    line.close()
                    raise
                self._idle.append(line)
                return reply
        except TimeoutError:
            self._again_at = time.monotonic() + SILENT_SECONDS
            self._away(f"no answer within {self.ask_seconds:g} s")
        except NotOurs as error:
            self._away(str(error))
        except (FileNotFoundError, ConnectionRefusedError):
            self._away("nobody listens there")
        except OSError as error:
            self._away(error.strerror or str(error))
        return None

    def _through(self, line: socket.socket, request: Request) -> Reply:
        wire.send_request(line, request)
        return wire.receive_reply(line)

    def _connected(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(self.ask_seconds)
        try:
            line.connect(str(self.address))
        except BaseException:
            line.close()
            raise
        return line

    def _away(self, reason: str) -> None:
        level = logging.WARNING if self.well else logging.INFO  # at the start it is not there yet
        self.well, self.device = False, None
        self._drop()
        self._tell(f"The engine process is away, this process answers: {reason}.", level)

    def _drop(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _tell(self, sentence: str, level: int) -> None:
        """Not every second anew."""
        if sentence != self._told:
            self._told = sentence
            log.log(level, sentence)
