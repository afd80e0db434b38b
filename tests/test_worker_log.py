"""What a worker logs looks as what the web server logs, and hides the same."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from breedsite.launcher import Launcher

# As the worker's parent begins, and each process of its pool.
WORKER = """
import logging
from breedsite.celery import app
app.log.setup("INFO", redirect_stdouts=True, hostname="celery@here")
logging.getLogger("celery.worker").warning("lost amqp://me:s3cret@host//")
logging.getLogger("classifier.tasks").info("done")
"""


def lines(**settings: str) -> list[str]:
    """What such a worker says."""
    command, environment = [sys.executable, "-c", WORKER], os.environ | settings
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stderr.splitlines()


def test_a_line_of_a_worker_shows_no_password():
    lost, finished = [line.split(" ", 2)[2] for line in lines()]
    assert lost == "WARNING celery.worker lost amqp://me:***@host//"
    assert finished == "INFO classifier.tasks done"


def test_a_worker_says_objects_where_that_is_asked_for():
    lost, finished = [json.loads(line) for line in lines(LOG_FORMAT="json")]
    assert (lost["level"], lost["message"]) == ("WARNING", "lost amqp://me:***@host//")
    assert (finished["logger"], finished["message"]) == ("classifier.tasks", "done")


def test_the_launcher_passes_objects_on_and_makes_them_of_all_else(tmp_path: Path):
    out = io.StringIO()
    with Launcher(tmp_path, out=out, as_json=True) as launcher:
        launcher.say('{"time": "now", "level": "ERROR", "message": "lost"}', name="worker")
        launcher.say("listening\x1b[31m on\n[1, 2]", name="web")
    told, listening, other = [json.loads(line) for line in out.getvalue().splitlines()]
    assert told == {"service": "worker", "time": "now", "level": "ERROR", "message": "lost"}
    assert listening["service"] == "web" and listening["message"] == "listening\x1b[31m on"
    assert "\x1b" not in out.getvalue() and other["message"] == "[1, 2]"
