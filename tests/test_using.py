"""What a training uses of its machine: asked of the process, and kept as rows for small curves."""

import subprocess
import sys
from datetime import timedelta

import pytest
import torch
from django.utils import timezone

from trainer.models import using
from trainer.models.using import MOST, Use
from trainer.usage import usage

pytestmark = pytest.mark.alone

BEGAN = timezone.now()


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds) sets the time since the run began."""

    def at(seconds: float) -> None:
        monkeypatch.setattr(using.timezone, "now", lambda: BEGAN + timedelta(seconds=seconds))

    return at


def step(cpu_seconds: float, **more: object) -> dict[str, object]:
    return {"memory_bytes": 5_000_000, "cpu_seconds": cpu_seconds} | more


def test_processors_are_counted_between_two_rows(clock):
    use = Use([], BEGAN)
    for seconds, cpu in ((10, 3.0), (10.5, 3.9), (12, 6.0), (14, 9.5)):
        clock(seconds)
        use.add(step(cpu))
    assert use.rows == [[12.0, 5_000_000, 1.5, None, None], [14.0, 5_000_000, 1.75, None, None]]
    assert use.processors == 1.75


def test_a_gpu_is_kept_beside(clock):
    use = Use([], BEGAN)
    for seconds in (1, 3):
        clock(seconds)
        use.add(step(seconds, gpu_memory_bytes=7, gpu_share=0.5))
    assert use.rows == [[3.0, 5_000_000, 1.0, 7, 0.5]]


def test_a_long_training_keeps_a_bounded_number_of_rows_from_its_beginning_to_its_end(clock):
    use = Use([], BEGAN)
    for seconds in range(5000):
        clock(seconds)
        use.add(step(seconds))
    assert MOST / 3 < len(use.rows) <= MOST
    assert use.rows[0][0] < 60 and use.rows[-1][0] > 4900


def test_a_later_attempt_goes_on_with_the_rows_and_a_fresh_processor_clock(clock):
    use = Use([[float(seconds), 1, 1.0, None, None] for seconds in range(0, 400, 4)], BEGAN)
    clock(1000)
    use.add(step(0.5))
    clock(1002)
    use.add(step(2.5))
    assert len(use.rows) == 100  # they lie four seconds apart
    clock(1005)
    use.add(step(5.5))
    assert len(use.rows) == 101 and use.rows[-1][:3] == [1005.0, 5_000_000, 1.0]


def test_a_process_tells_its_memory_and_time():
    used = usage(torch.device("cpu"))
    assert used.keys() == {"memory_bytes", "cpu_seconds"}
    assert used["memory_bytes"] > 10_000_000 and used["cpu_seconds"] > 0


def test_the_processes_that_it_started_are_counted_with_it():
    before = usage(torch.device("cpu"))
    code = "import sys; held = bytearray(b'1') * 2 * 10**8; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        used = usage(torch.device("cpu"))
        assert used["memory_bytes"] - before["memory_bytes"] > 150_000_000
        assert used["cpu_seconds"] > before["cpu_seconds"]
        other.stdin.close()


@pytest.mark.parametrize("error", [None, ModuleNotFoundError("pynvml"), RuntimeError("no driver")])
def test_on_a_gpu_its_share_is_told_where_the_driver_tells_it(monkeypatch, error):
    def utilization(device):
        if error:
            raise error
        return 40

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 123)
    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    used = usage(torch.device("cuda:0"))
    assert (used["gpu_memory_bytes"], used["gpu_share"]) == (123, None if error else 0.4)
