"""Decode the files of strangers in a child process with limits of its own: what imports and batches do.

No timeout in Python stops C code, and a decoder that crashes takes its process along. The child has processor time,
memory and a wall clock of its own, can write no file, and inherits no environment, hence no secret. It answers in
JSON and raw bytes, never in pickle: a child that has been taken over must not take over its parent.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from classifier import guard, preprocess
from classifier.guard import Limits, Refused
from classifier.look import HEAD, THUMBNAIL_SIDE, Look, look
from classifier.preprocess import Preprocessing

MAX_HEADER_BYTES = 64 * 1024
ROOT = Path(__file__).parent.parent  # where `classifier` is imported from


@dataclass(frozen=True)
class Bounds:
    """What one picture may cost."""

    cpu_seconds: int = 5
    wall_seconds: float = 8.0
    memory_bytes: int = 1_500_000_000  # address space of the child


class Sandbox:
    """One child that decodes one picture at a time; a new one takes its place when it dies.

    Use it as a context manager and from one thread; for more than one picture at a time make more of them.
    """

    def __init__(self, *, limits: Limits = Limits(), bounds: Bounds = Bounds()) -> None:
        self.limits, self.bounds = limits, bounds
        self.deaths = 0  # children that did not survive a picture
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def square(self, data: bytes, preprocessing: Preprocessing) -> np.ndarray:
        """The bytes of a photo -> uint8 (H, W, 3), as `preprocess.square` gives; raise Refused as `decode` does."""
        side = preprocessing.crop
        pixels = self._call(data, {"do": "square", "preprocessing": preprocessing.as_dict()}, most=side * side * 3)
        return np.frombuffer(pixels, np.uint8).reshape(side, side, 3)

    def preprocess(self, data: bytes, preprocessing: Preprocessing) -> np.ndarray:
        """The bytes of a photo -> float32 (3, H, W), as `preprocess.preprocess` gives."""
        return preprocess.normalize(self.square(data, preprocessing), preprocessing)

    def thumbnail(self, data: bytes, side: int) -> bytes:
        """The bytes of a photo -> a fresh small JPEG, as `preprocess.thumbnail` gives."""
        return self._call(data, {"do": "thumbnail", "side": side}, most=side * side * 3 + MAX_HEADER_BYTES)

    def look(self, data: bytes) -> Look:
        """The bytes of a photo -> what is kept of it to know it again, as `look.look` gives."""
        return Look.from_bytes(self._call(data, {"do": "look"}, most=HEAD.size + THUMBNAIL_SIDE**2))

    def close(self) -> None:
        """End the child; a later call starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _call(self, data: bytes, order: dict[str, object], *, most: int) -> bytes:
        if len(data) > self.limits.max_bytes:
            guard.check(data, self.limits)  # refuses it, and spares the pipe
        if self._child is not None and self._child.poll() is not None:
            self.close()  # it died after its last answer: that is not this photo's doing
        child = self._child = self._child or self._start()
        assert child.stdin and child.stdout
        clock = threading.Timer(self.bounds.wall_seconds, child.kill)
        clock.start()
        try:
            _send(child.stdin, order | {"limits": asdict(self.limits), "cpu_seconds": self.bounds.cpu_seconds}, data)
            answer, result = _receive(child.stdout, most)
        except (BrokenPipeError, EOFError):
            self.deaths += 1
            raise self._obituary(child) from None
        finally:
            clock.cancel()
        if "code" in answer:
            raise Refused(answer["code"], answer["sentence"], **answer["details"])
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "classifier.sandbox", str(self.bounds.memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},  # each thread of it reserves address space
        )

    def _obituary(self, child: subprocess.Popen[bytes]) -> Refused:
        self.close()
        if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return Refused("image_too_complex", "This picture takes too long to decode. Save it again, or smaller.")
        return Refused("image_corrupt", "This file is damaged: the decoder gave up on it. Try the original file.")


def _send(pipe: IO[bytes], header: Mapping[str, object], body: bytes) -> None:
    text = json.dumps({**header, "bytes": len(body)}).encode()
    pipe.write(struct.pack(">I", len(text)) + text)
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes], most: int) -> tuple[dict, bytes]:
    """A header and a body of at most `most` bytes; EOFError where the other side has gone or does not keep to it."""
    (length,) = struct.unpack(">I", _exactly(pipe, 4, 4))
    try:
        header = json.loads(_exactly(pipe, length, MAX_HEADER_BYTES))
        count = int(header["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise EOFError("this is no header") from error
    return header, _exactly(pipe, count, most)


def _exactly(pipe: IO[bytes], count: int, most: int) -> bytes:
    if not 0 <= count <= most:
        raise EOFError(f"{count} bytes announced, 0 to {most} allowed")
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _answer(order: dict, data: bytes) -> bytes:
    limits = Limits(**order["limits"])
    if order["do"] == "thumbnail":
        return preprocess.thumbnail(data, order["side"], limits)
    if order["do"] == "look":
        return look(data, limits).as_bytes()
    preprocessing = Preprocessing.from_dict(order["preprocessing"])
    picture = preprocess.decode(data, limits, shorter_side=preprocessing.resize)
    return preprocess.square(picture, preprocessing).tobytes()


def main(memory_bytes: int) -> None:
    """The child: answer orders from standard input until it ends."""
    for what, bound in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (bound, bound))
    orders = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print into the answers
    while True:
        try:
            order, data = _receive(orders, sys.maxsize)
        except EOFError:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + order["cpu_seconds"], hard))
        try:
            result, header = _answer(order, data), {}
        except Refused as refused:
            result, header = b"", {"code": refused.code, "sentence": refused.sentence, "details": refused.details}
        _send(answers, header, result)


if __name__ == "__main__":
    main(int(sys.argv[1]))
