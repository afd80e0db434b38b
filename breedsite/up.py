"""The whole site with one command: `python -m breedsite.up`, or `manage.py up`, until Ctrl-C or SIGTERM.

It reads the settings and loads no app: the process that starts the others stays small, and has one thread.
"""

import os
import sys
import time

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from breedsite import valkey
from breedsite.launcher import Failed, Launcher, Service, Stopped
from breedsite.obstacles import free, listens, only_one, room


def main() -> None:
    """Run the site to its end. Exits with 1 and one line when it cannot."""
    started = time.monotonic()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
    os.umask(0o077)  # what the site writes is for its own user alone
    try:
        room(settings.DATA_DIR)
        lock = only_one(settings.DATA_DIR, settings.SITE_URL)
        free(settings.HOST, settings.PORT)
        launcher = Launcher(settings.BASE_DIR, keep_open=[lock], as_json=settings.LOG_FORMAT == "json")
        try:
            with launcher:
                bring_up(launcher, started)
                launcher.watch()
        except Stopped:
            launcher.say("Stopped.")
    except (ImproperlyConfigured, Failed, valkey.ServerMissing) as error:
        sys.exit(f"breedsite cannot run: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell says of a command that Ctrl-C ended


def bring_up(launcher: Launcher, started: float) -> None:
    """Start the processes one after the other, each as soon as what it needs is there.

    At the end a training has 8 s for its batch, its worker 9 s; with the Valkey's everything is gone within 10 s.
    """
    python = sys.executable
    if embedded := str(settings.VALKEY_SOCKET) in settings.BROKER_URL + settings.CACHE_URL:
        folder = settings.DATA_DIR / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        command = valkey.command(valkey.find_server(), settings.VALKEY_SOCKET, folder)
        launcher.start(Service("valkey", tuple(command), wave=1, grace_seconds=0.8, quiet=True))
    launcher.finish(Service("setup", (python, "manage.py", "prepare")))
    if embedded:
        launcher.wait(lambda: valkey.answers(settings.VALKEY_SOCKET), "The embedded Valkey", seconds=60)
    launcher.start(Service("worker", (python, *worker(settings.WORKER_SLOTS)), grace_seconds=9.0))
    launcher.start(Service("web", (python, "-m", "breedsite.server")))
    launcher.wait(lambda: listens(settings.HOST, settings.PORT), "The web server", seconds=60)
    launcher.say(f"Ready in {time.monotonic() - started:.1f} s: {settings.SITE_URL} (Ctrl-C stops it)")


def worker(slots: int) -> tuple[str, ...]:
    """The arguments of a Celery worker with `slots` processes; gossip and mingle serve only fleets."""
    words = "-m celery --quiet --skip-checks --app breedsite worker --pool prefork --loglevel INFO"
    return (*words.split(), "--without-gossip", "--without-mingle", "--concurrency", str(slots))


if __name__ == "__main__":
    main()
