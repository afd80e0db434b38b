"""Decoding in a child: the same pixels, the same refusals, and limits that hold against code that does not stop."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command

from classifier import preprocess
from classifier.guard import Limits, Refused
from classifier.look import look
from classifier.preprocess import Preprocessing
from classifier.sandbox import Bounds, Sandbox, _receive
from tests.corpus import CASES, OK
from tests.pictures import encode, noise, png_bomb, scan_bomb, smooth

pytestmark = pytest.mark.alone

PREPROCESSING = Preprocessing(resize=64, crop=56)
PATIENT = Bounds(wall_seconds=60)  # with a machine on which others work
UNGUARDED = Limits(max_pixels=10**9, max_scans=10**6, max_scan_pixels=10**12)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(bounds=PATIENT) as box:
        yield box


def code_of(box: Sandbox, data: bytes) -> str:
    try:
        box.square(data, PREPROCESSING)
    except Refused as refused:
        return refused.code
    return OK


def test_it_gives_the_pixels_of_the_one_decode_path(sandbox: Sandbox):
    data = encode(smooth(1, (500, 375)))
    expected = preprocess.square(preprocess.decode(data, shorter_side=64), PREPROCESSING)
    assert np.array_equal(sandbox.square(data, PREPROCESSING), expected)


def test_it_gives_the_tensor_of_the_one_decode_path(sandbox: Sandbox):
    data = encode(smooth(1, (500, 375)))
    assert np.array_equal(sandbox.preprocess(data, PREPROCESSING), preprocess.preprocess(data, PREPROCESSING))


def test_it_tells_what_a_picture_is_known_by(sandbox: Sandbox):
    data = encode(smooth(1, (500, 375)), "PNG")
    seen, expected = sandbox.look(data), look(data)
    assert (seen.format, seen.width, seen.height) == ("PNG", 500, 375)
    assert seen.pixels == expected.pixels == look(encode(smooth(1, (500, 375)), "WEBP", lossless=True)).pixels
    assert np.array_equal(seen.thumbnail, expected.thumbnail)
    with pytest.raises(Refused):
        sandbox.look(CASES["trunc_50.jpg"].data)


def test_the_predict_command_answers_the_same_from_a_sandbox(active_version, tmp_path: Path, capsys):
    (tmp_path / "photo.jpg").write_bytes(encode(smooth(1)))
    (tmp_path / "cut.jpg").write_bytes(CASES["trunc_50.jpg"].data)
    files = (tmp_path / "photo.jpg", tmp_path / "cut.jpg")
    answers = []
    for options in ([], ["--sandbox"]):
        with pytest.raises(SystemExit, match="1"):
            call_command("predict", *files, *options)
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert [json.loads(line).get("code") for line in answers[0].splitlines()] == [None, "image_truncated"]


def test_it_gives_the_thumbnail_of_the_one_decode_path(sandbox: Sandbox):
    data = encode(smooth(1, (500, 375)))
    assert sandbox.thumbnail(data, 100) == preprocess.thumbnail(data, 100)


def test_it_gives_a_thumbnail_of_noise_whole(sandbox: Sandbox):
    data = encode(noise(1, (64, 64)), "PNG")
    assert sandbox.thumbnail(data, 64) == preprocess.thumbnail(data, 64)


def test_it_answers_the_whole_corpus_as_the_table_says_and_never_dies(sandbox: Sandbox):
    wrong = {name: code for name, case in CASES.items() if (code := code_of(sandbox, case.data)) not in case.codes}
    assert wrong == {}
    assert sandbox.deaths == 0


def test_it_hands_on_the_details_of_a_refusal(sandbox: Sandbox):
    with pytest.raises(Refused) as refused:
        sandbox.square(CASES["heic.jpg"].data, PREPROCESSING)
    assert refused.value.details == {"detected": "HEIC", "accepted": ["JPEG", "PNG", "WEBP"]}


def test_it_refuses_a_file_above_the_limit_without_sending_it():
    with Sandbox(limits=Limits(max_bytes=100), bounds=PATIENT) as box:
        assert code_of(box, encode(smooth(1))) == "file_too_large"
        assert box._child is None


def test_it_stops_a_decoder_that_takes_too_much_processor_time():
    with Sandbox(limits=UNGUARDED, bounds=Bounds(cpu_seconds=1, wall_seconds=60)) as box:
        assert code_of(box, scan_bomb(1000)) == "image_too_complex"
        assert box.deaths == 1
        assert code_of(box, encode(smooth(1))) == OK  # by another child


def test_the_processor_time_of_one_picture_is_not_charged_to_the_next():
    data = scan_bomb(10)
    before = time.process_time()
    preprocess.decode(data, UNGUARDED, shorter_side=64)
    cost = time.process_time() - before  # about half a second
    allowed = ceil(4 * cost)
    with Sandbox(limits=UNGUARDED, bounds=Bounds(cpu_seconds=allowed, wall_seconds=60)) as box:
        for _ in range(ceil((allowed + 2) / cost)):  # more than is allowed for one
            assert code_of(box, data) == OK
        assert box.deaths == 0


def test_it_stops_a_decoder_that_hangs():
    with Sandbox(bounds=PATIENT) as box:
        assert code_of(box, encode(smooth(1))) == OK
        box.bounds = Bounds(wall_seconds=1)
        os.kill(box._child.pid, signal.SIGSTOP)
        assert code_of(box, encode(smooth(1))) == "image_too_complex"


def test_it_survives_a_decoder_that_crashes():
    with Sandbox(bounds=PATIENT) as box:
        assert code_of(box, encode(smooth(1))) == OK
        os.kill(box._child.pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (box._child.pid, signal.SIGSEGV)).start()
        threading.Timer(0.4, os.kill, (box._child.pid, signal.SIGCONT)).start()
        assert code_of(box, encode(smooth(1))) == "image_corrupt"
        assert code_of(box, encode(smooth(1))) == OK


def test_a_child_that_died_between_two_photos_refuses_none():
    with Sandbox(bounds=PATIENT) as box:
        assert code_of(box, encode(smooth(1))) == OK
        box._child.kill()
        box._child.wait()
        assert code_of(box, encode(smooth(1))) == OK
        assert box.deaths == 0


@pytest.mark.parametrize("header", [b'{"bytes": -1}', b'{"bytes": 9999}', b"{}", b"[]", b"\xff", b'{"bytes": "x"}'])
def test_an_answer_that_does_not_keep_to_the_rules_is_no_answer(header: bytes):
    with pytest.raises(EOFError):
        _receive(io.BytesIO(struct.pack(">I", len(header)) + header + bytes(99)), 99)


def test_it_refuses_what_needs_more_memory_than_the_child_has():
    with Sandbox(limits=UNGUARDED, bounds=Bounds(memory_bytes=600_000_000, wall_seconds=60)) as box:
        assert code_of(box, png_bomb(13_000)) == "image_too_complex"
        assert box.deaths == 0


def test_the_child_sees_no_environment_and_writes_no_file():
    with Sandbox(bounds=PATIENT) as box:
        code_of(box, encode(smooth(1)))
        pid = box._child.pid
        names = {entry.split(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if entry}
        limits = {line[:25].strip(): line[26:].split() for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert names <= {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS", b"LC_CTYPE"}
    assert limits["Max file size"][:2] == ["0", "0"]
    assert limits["Max address space"][0] == "1500000000"


def test_closing_leaves_no_process_behind():
    box = Sandbox(bounds=PATIENT)
    code_of(box, encode(smooth(1)))
    child = box._child
    box.close()
    assert child.returncode is not None
