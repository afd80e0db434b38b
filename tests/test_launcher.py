"""The launcher with toy services. The whole site under it: `test_up.py`."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from breedsite import launcher as module
from breedsite.launcher import Failed, Launcher, Service, Stopped
from tests.processes import gone

pytestmark = pytest.mark.alone

FOREVER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here'); time.sleep(600)"
SAYS_WHEN_STOPPED = """
import signal, sys, time
def end(*_):
    time.sleep(0.2)
    open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("here")
time.sleep(600)
"""


def python(name: str, code: str, *arguments: str, **more) -> Service:
    return Service(name, (sys.executable, "-c", code, *arguments), **more)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def launcher(tmp_path: Path, out: io.StringIO, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.05,))
    with Launcher(tmp_path, out=out) as launcher:
        yield launcher


def test_a_line_that_finds_no_room_is_lost_and_the_next_one_is_not(launcher, out, monkeypatch):
    """The output is a file on a disk that is full for a while."""
    room = [False, True]

    def write(text: str) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return io.StringIO.write(out, text)

    monkeypatch.setattr(out, "write", write, raising=False)
    launcher.say("lost")
    room.pop(0)
    launcher.say("heard")
    assert out.getvalue() == "breedsite | heard\n"


def test_each_line_stands_behind_the_name_of_who_says_it(launcher, out):
    launcher.finish(python("setup", "import sys; print('one\\ntwo'); print('three', end='', file=sys.stderr)"))
    assert out.getvalue().splitlines() == ["setup     | one", "setup     | two", "setup     | three"]


def test_what_is_no_text_is_shown_all_the_same(launcher, out):
    launcher.finish(python("setup", "import sys; sys.stdout.buffer.write(b'\\xff\\n')"))
    assert out.getvalue() == "setup     | \N{REPLACEMENT CHARACTER}\n"


def test_a_step_that_fails_is_named_with_its_exit_code(launcher):
    with pytest.raises(Failed, match=r"setup failed \(exit code 3\)"):
        launcher.finish(python("setup", "raise SystemExit(3)"))


def test_a_program_that_does_not_exist_is_named(launcher):
    with pytest.raises(Failed, match="/no/such/program cannot be started"):
        launcher.start(Service("web", ("/no/such/program",)))


def test_one_that_dies_is_started_again_and_that_is_said(launcher, out):
    first = launcher.start(python("web", FOREVER)).process
    first.kill()
    launcher.wait(
        lambda: "web" in launcher.children and launcher.children["web"].process is not first, "web", seconds=60
    )
    assert re.search(r"web was killed by SIGKILL after \d+ s; starting it again in 0 s\.", out.getvalue())


def test_three_deaths_right_after_the_start_end_everything(launcher, out, monkeypatch):
    monkeypatch.setattr(module, "QUICK_DEATH_SECONDS", 60.0)
    launcher.start(python("web", "print('no'); raise SystemExit(7)"))
    with pytest.raises(Failed, match="web ended with exit code 7 3 times right after its start"):
        launcher.watch()
    assert out.getvalue().count("web       | no") == 3


def test_deaths_after_a_while_do_not_count_as_failed_starts(launcher, out, monkeypatch):
    monkeypatch.setattr(module, "QUICK_DEATH_SECONDS", 0.0)
    launcher.start(python("web", "print('again')"))
    launcher.wait(lambda: out.getvalue().count("again |") or out.getvalue().count("| again") >= 5, "web", seconds=60)


def test_the_pause_grows_with_the_deaths_in_a_row(launcher, out, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.01, 0.4))
    monkeypatch.setattr(module, "QUICK_DEATHS", 10)
    launcher.start(python("web", "pass"))
    began = time.monotonic()
    launcher.wait(lambda: out.getvalue().count("starting it again") == 3, "web", seconds=60)
    assert time.monotonic() - began > 0.4


def test_a_quiet_service_is_heard_when_it_dies(launcher, out):
    launcher.start(python("valkey", "print('the reason')", quiet=True))
    launcher.wait(lambda: "starting it again" in out.getvalue(), "valkey", seconds=60)
    assert "valkey    | the reason" in out.getvalue()


def test_what_does_not_answer_in_time_is_named(launcher):
    with pytest.raises(Failed, match="The web server did not answer within 0 s"):
        launcher.wait(lambda: False, "The web server", seconds=0.2)


def test_the_first_wave_is_gone_before_the_second_is_asked(launcher, out, tmp_path):
    diary = tmp_path / "diary"
    for name, wave in (("broker", 1), ("web", 0), ("worker", 0)):
        launcher.start(python(name, SAYS_WHEN_STOPPED, str(diary), name, wave=wave, grace_seconds=600))
    launcher.wait(lambda: out.getvalue().count("here") == 3, "all", seconds=60)
    launcher.stop()
    *first, last = diary.read_text().split()
    assert sorted(first) == ["web", "worker"]
    assert last == "broker"


def test_one_that_does_not_listen_is_killed_after_its_grace(launcher, out):
    process = launcher.start(python("web", STUBBORN, grace_seconds=0.3)).process
    launcher.wait(lambda: "here" in out.getvalue(), "web", seconds=60)
    began = time.monotonic()
    launcher.stop()
    assert process.returncode == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 60  # it would sleep for 600


def test_what_a_service_started_goes_with_it(launcher, out):
    nested = (
        f"import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid); {FOREVER}"
    )
    launcher.start(python("web", nested))
    launcher.wait(lambda: "here" in out.getvalue(), "web", seconds=60)
    grandchild = int(next(line for line in out.getvalue().splitlines() if "here" not in line).split("|")[1])
    launcher.stop()
    assert gone([grandchild])


def test_a_signal_ends_the_watch(launcher):
    launcher.start(python("web", FOREVER))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        launcher.watch()


def test_the_same_request_twice_at_once_is_still_patient_and_a_later_one_is_not(launcher, monkeypatch):
    monkeypatch.setattr(module, "SAME_REQUEST_SECONDS", 60.0)
    launcher._ask(signal.SIGTERM, None)
    launcher._ask(signal.SIGTERM, None)
    assert not launcher.hurry
    monkeypatch.setattr(module, "SAME_REQUEST_SECONDS", 0.0)
    launcher._ask(signal.SIGTERM, None)
    assert launcher.hurry


def test_a_second_signal_kills_at_once(launcher, out):
    launcher.start(python("web", STUBBORN, grace_seconds=600))
    launcher.wait(lambda: "here" in out.getvalue(), "web", seconds=60)
    launcher.hurry = True
    began = time.monotonic()
    launcher.stop()
    assert time.monotonic() - began < 60


def test_signal_handlers_are_put_back(tmp_path, out):
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    }
    with Launcher(tmp_path, out=out):
        pass
    assert before == {number: signal.getsignal(number) for number in before}


def test_nothing_is_left_when_the_launcher_is_killed(tmp_path):
    code = f"""
from pathlib import Path
from breedsite.launcher import Launcher, Service
with Launcher(Path({str(tmp_path)!r})) as launcher:
    child = launcher.start(Service("web", ({sys.executable!r}, "-c", {STUBBORN!r})))
    launcher.say(str(child.process.pid))
    launcher.watch()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split("|")[1])
        assert "here" in parent.stdout.readline()
        parent.kill()
    assert gone([child])


def test_a_reader_that_went_away_does_not_end_the_site(tmp_path):
    read, write = os.pipe()
    os.close(read)
    with Launcher(tmp_path, out=os.fdopen(write, "w")) as launcher:
        launcher.say("nobody hears this")
        launcher.finish(python("setup", "print('nor this')"))
