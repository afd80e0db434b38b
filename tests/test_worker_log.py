"""What a worker logs looks as what the web server logs, and hides the same."""

import subprocess
import sys

# As the worker's parent begins, and each process of its pool.
WORKER = """
import logging
from breedsite.celery import app
app.log.setup("INFO", redirect_stdouts=True, hostname="celery@here")
logging.getLogger("celery.worker").warning("lost amqp://me:s3cret@host//")
logging.getLogger("classifier.tasks").info("done")
"""


def test_a_line_of_a_worker_shows_no_password():
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True, timeout=60)
    lost, finished = [line.split(" ", 2)[2] for line in done.stderr.splitlines()]
    assert lost == "WARNING celery.worker lost amqp://me:***@host//"
    assert finished == "INFO classifier.tasks done"
