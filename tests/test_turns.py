"""Heavy work that waits for its turn, among threads and among processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from classifier.turns import Turns

ROOT = Path(__file__).resolve().parent.parent
HOLD = """
import sys
from pathlib import Path
from classifier.turns import Turns
with Turns(Path(sys.argv[1]), "large", 1)():
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_no_more_than_so_many_have_their_turn(tmp_path):
    turns = Turns(tmp_path, "large", 2)
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with turns():
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads) and 1 <= most <= 2


def test_another_process_waits_and_a_killed_one_gives_its_turn_back(tmp_path):
    turns = Turns(tmp_path, "large", 1)
    got = threading.Event()

    def mine() -> None:
        with turns():
            got.set()

    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout and holder.stdout.readline() == "mine\n"
        thread = threading.Thread(target=mine)
        thread.start()
        assert not got.wait(0.2)
        holder.send_signal(signal.SIGKILL)
        assert got.wait(10)
        thread.join()
