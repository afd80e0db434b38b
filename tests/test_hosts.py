"""Three hosts, each with a DATA_DIR of its own, one database, one broker and a storage that they share.

A zip comes to the web server, is imported by one worker, trained by another, which is killed in the middle, and gone on
with by the first, to the same bits as a run that nobody disturbed; then the web server answers with what came of it.
"""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages

from benchmarks.site import free_port
from breedsite import up, valkey
from breedsite.environment import shared_storage
from tests.archives import photos, write_zip
from tests.photos import draw, encoded
from tests.site import FROM_OUTSIDE, ROOT
from tests.trainings import LABELS, RECIPE

pytestmark = [pytest.mark.timeout(900), pytest.mark.alone]
QUICK = {"RECONCILE_SECONDS": "1", "LEASE_SECONDS": "5", "HEARTBEAT_SECONDS": "1"}
EPOCHS = 12
FIGURES = ("number", "loss", "accuracy", "validation_loss", "validation_top1", "learning_rate", "skipped_steps")


def client_of_programs() -> Any:
    """docs/train_by_api.py, as a module."""
    spec = importlib.util.spec_from_file_location("train_by_api", ROOT / "docs" / "train_by_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Host:
    """Processes on a DATA_DIR of their own."""

    data: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    def manage(self, *words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, name: str, *command: str, **settings: str) -> None:
        with (self.data / f"{name}.txt").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def work(self, queues: str) -> None:
        self.start("worker", *up.worker(1), WORKER_QUEUES=queues)

    def kill(self, name: str) -> None:
        """-9 for it and all that it started: the machine is lost."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait(10)

    def log(self) -> str:
        return "\n".join(file.read_text() for file in self.data.glob("*.txt"))


@pytest.fixture
def trio(tmp_path: Path, request, storage_url: str) -> Iterator[dict[str, Host]]:
    address = tmp_path / "v.sock"
    broker = valkey.command(valkey.find_server(), address, tmp_path)
    bare = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
    port = str(free_port())
    common = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'rows.sqlite3'}",
        "BROKER_URL": f"redis+socket://{address}?virtual_host=0",
        "CACHE_URL": f"unix://{address}?db=1",
        "STORAGE_URL": storage_url,
        "SECRET_KEY": "of-all-hosts-" * 5,
        "PORT": port,
        "WEB_PROCESSES": "1",
    }
    hosts = {}
    for name in ("importer", "trainer", "web"):
        (tmp_path / name).mkdir()
        hosts[name] = Host(tmp_path / name, bare | common | QUICK | {"DATA_DIR": str(tmp_path / name)})
    with subprocess.Popen(broker, stdout=subprocess.DEVNULL) as server:
        try:
            yield hosts
        finally:
            for host in hosts.values():
                for process in host.processes.values():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)
            server.kill()


@pytest.fixture(params=["folder", "bucket"])
def storage_url(request) -> str:
    return request.getfixturevalue(request.param)


def until(what, *, why: str, seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, why
        time.sleep(0.1)
    return found


def test_a_run_goes_on_at_another_host_and_a_third_answers_with_it(trio, tmp_path, storage_url):
    importer, trainer, web = trio["importer"], trio["trainer"], trio["web"]
    said = importer.manage("prepare")  # the starter version goes into the storage once
    name = re.search(r"name (\S+),", said)[1]
    key = importer.manage("apikey", "create", name, "robot", "--scope", "admin")
    web.start("web", "-m", "breedsite.server")
    importer.work("import")
    trainer.work("train")
    until(lambda: "listening on" in web.log(), why="the web server listens")
    programs = client_of_programs()
    site = programs.Site(f"http://127.0.0.1:{web.environment['PORT']}", key)
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(draw(1, 99)))
    # The web server has nothing of its own, and answers with the starter.
    starter = site.ask("POST", "/api/predictImage", photo.read_bytes(), "image/png")
    assert starter["version"]["name"] == "dogs120" and list((web.data / "versions").iterdir())

    archive = write_zip(tmp_path / "squares.zip", photos(tuple(LABELS), count=20))
    upload = {"upload": programs.send(site, archive), "upload_name": archive.name}
    dataset = programs.imported(site, site.make("/api/datasets", {"name": "squares", **upload}))
    assert list((importer.data / "datasets").glob("*/*/*.png")) and not (trainer.data / "datasets").exists()
    changes = RECIPE | {"epochs": EPOCHS, "trainable": "all"}
    wanted = {"dataset": dataset["dataset"], "preset": "transfer", "recipe": changes}
    run = site.make("/api/runs", wanted)

    stored = storages.create_storage(shared_storage(storage_url))
    # In the middle the machine of the trainer is lost, with everything on its disk.
    until(lambda: len(site.get(run["url"])["epochs"]) >= 3, why="three epochs")
    until(lambda: [one for one in stored.walk("runs/") if ".checkpoint" in one.name], why="a checkpoint is there")
    trainer.kill("worker")
    stopped_at = len(site.get(run["url"])["epochs"])
    assert stopped_at < EPOCHS
    (trainer.data / "gone").mkdir()
    for kind in ("runs", "datasets"):
        (trainer.data / kind).rename(trainer.data / "gone" / kind)
    importer.kill("worker")
    importer.work("import,train")
    run = programs.trained(site, run)
    assert "goes on from epoch-" in importer.log()

    version = site.ask("POST", f"/api/versions/{run['version_id']}/activate")
    answer = programs.asked(site, photo, version["digest"])
    assert answer["label"] == "pug" and sorted(path.name for path in (web.data / "datasets").glob("*")) == []

    # The same once more, undisturbed.
    calm = programs.trained(site, site.ask("POST", f"{run['url']}/clone", b"{}", "application/json"))
    weights = [
        site.get(f"/api/versions/{one['version_id']}")["spec"]["files"]["weights.safetensors"]["sha256"]
        for one in (run, calm)
    ]
    epochs = [
        [tuple(epoch[name] for name in FIGURES) for epoch in site.get(one["url"])["epochs"]] for one in (run, calm)
    ]
    assert weights[0] == weights[1] and epochs[0] == epochs[1] and len(epochs[0]) == EPOCHS
