"""A run whose backbone stands still: its process computes features, its row tells of it, the site keeps them."""

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import reverse

from breedsite import jobs
from classifier.networks import catalogue
from tests.squares import make_dataset, make_run
from tests.trainings import events, start, write_job
from trainer.cache import FeatureCache
from trainer.models import TrainingRun
from trainer.models.attempt import Attempt
from trainer.models.supervising import device, supervise
from trainer.process import LEFT

pytestmark = pytest.mark.timeout(400)
RECIPE = {"weights": "pretrained", "trainable": "head", "head": "16", "batch_norm": "frozen", "views": 2, "epochs": 4}
LIST = reverse("admin:trainer_trainingrun_changelist")
EMPTY = reverse("admin:trainer_trainingrun_empty")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights of the tests' network, as if somebody had published them."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    net = catalogue.create({"name": "squeezenet1_1", "head": {"kind": "linear"}}, label_count=1000)
    safetensors.torch.save_file(net.state_dict(), folder / "squeezenet1_1.safetensors")
    return folder


@pytest.fixture(autouse=True)
def folders(settings, tmp_path, monkeypatch, published) -> None:
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR", "FEATURES_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.WEIGHTS_DIR = published
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def job(folder: Path, published: Path, **changes: Any) -> Path:
    cache = {"features": str(folder / "features"), "features_bytes": 10**8}
    return write_job(folder, recipe=RECIPE, weights=str(published), **(cache | changes))


def figures(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    epochs = [one for one in said if one["event"] == "epoch"]
    return [{name: value for name, value in one.items() if "second" not in name} for one in epochs]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "artifact" / "weights.safetensors").read_bytes()).hexdigest()


@pytest.mark.alone
def test_a_range_test_looks_once_and_then_sweeps_the_head(tmp_path, published):
    process = start(job(tmp_path, published, range_test=True))
    said = events(process)
    assert process.returncode == 0, (tmp_path / "attempt-1.log").read_text()
    assert [one for one in said if one["event"] == "computing"][-1]["done"] == 48  # no validation photos
    points = [one for one in said if one["event"] == "point"]
    assert len(points) > 30 and points[0]["rate"] == 1e-7
    assert said[-1]["event"] == "found" and len(said[-1]["points"]) == len(points)


@pytest.mark.alone
def test_a_signal_and_a_kill_while_features_are_computed_change_no_bit(tmp_path, published):
    """24 training photos with two views and three validation photos are 51 pictures."""
    whole = tmp_path / "whole"
    whole.mkdir()
    process = start(job(whole, published))
    said = events(process)
    assert process.returncode == 0, (whole / "attempt-1.log").read_text()
    told = [one for one in said if one["event"] == "computing"]
    assert told[-1] == {"event": "computing", "done": 51, "total": 51}
    assert [one["number"] for one in said if one["event"] == "epoch"] == [1, 2, 3, 4]
    assert list((whole / "features").iterdir())

    for number, ask in enumerate((signal.SIGTERM, signal.SIGKILL), start=1):
        earlier = [str(tmp_path / f"attempt-{before}") for before in range(1, number)]
        stopped = start(job(tmp_path, published, work=str(tmp_path / f"attempt-{number}"), earlier=earlier))
        for line in stopped.stdout:
            if json.loads(line)["event"] == "computing":
                stopped.send_signal(ask)
                break
        stopped.stdout.read()
        assert stopped.wait(100) == (LEFT if ask == signal.SIGTERM else -signal.SIGKILL)
    earlier = [str(tmp_path / f"attempt-{before}") for before in (1, 2)]
    process = start(job(tmp_path, published, work=str(tmp_path / "attempt-3"), earlier=earlier))
    again = events(process)
    assert process.returncode == 0
    assert figures(again) == figures(said)
    assert weights(tmp_path) == weights(whole)


@pytest.mark.django_db(transaction=True)
def test_two_runs_of_a_site_share_what_a_backbone_saw(settings):
    dataset = make_dataset()
    heard: list[dict[str, Any]] = []
    for rate in (0.001, 0.01):
        make_run(dataset, **RECIPE, head_learning_rate=rate)
        run = TrainingRun.objects.claim_next(device=device())
        supervise(run, say=heard.append)
        run.refresh_from_db()
        assert run.status == run.Status.FINISHED, (run.failure, (run.folder / "log.txt").read_text())
    first, second = ([one for one in heard if one["event"] == "computing"][at] for at in (0, -1))
    assert first["done"] < first["total"] == second["done"]
    log = (run.folder / "log.txt").read_text()
    assert " 0 photos of them computed now" in log
    assert settings.FEATURES_DIR.is_dir()


class Held:
    """A heart that only notes what it would tell."""

    live: dict[str, Any] = {}


def test_the_row_tells_what_a_backbone_looks_at_and_how_long_that_will_take(monkeypatch):
    now = 100.0
    monkeypatch.setattr("trainer.models.attempt.monotonic", lambda: now)
    heart: Any = Held()
    attempt = Attempt(TrainingRun(), heart, lambda: False, lambda event: None)
    attempt.hear({"event": "computing", "done": 400, "total": 8000})
    assert heart.live["live"] == {"phase": "computing features", "done": 400, "total": 8000, "remaining_seconds": None}
    now = 110.0
    attempt.hear({"event": "computing", "done": 3400, "total": 8000})
    assert heart.live["live"]["remaining_seconds"] == pytest.approx(10 * 4600 / 3000)
    assert (heart.live["progress_done"], heart.live["progress_total"]) == (3400, 8000)


# --- the site's cache -------------------------------------------------------------------------------------------------
@pytest.fixture
def kept(settings) -> FeatureCache:
    cache = FeatureCache(settings.FEATURES_DIR, max_bytes=settings.FEATURE_CACHE_BYTES)
    cache.add("0" * 32, {"a" * 64: np.ones(500_000, np.float32)})
    return cache


def test_the_command_empties_it_and_says_how_much_that_was(kept, capsys):
    call_command("emptycache")
    assert "2.0 MB of features removed" in capsys.readouterr().out
    assert kept.size() == 0
    call_command("emptycache")
    assert "0.0 MB" in capsys.readouterr().out


@pytest.mark.django_db
def test_the_list_of_runs_says_its_size_and_has_a_button_that_empties_it(kept, admin_client):
    page = admin_client.get(LIST).content.decode()
    assert "1.9\xa0MB of at most 2.0\xa0GB" in page and EMPTY in page
    answer = admin_client.post(EMPTY, follow=True)
    assert "2.0 MB of features removed." in answer.content.decode()
    assert kept.size() == 0
    assert EMPTY not in answer.content.decode()  # there is nothing to empty


@pytest.mark.django_db
def test_who_may_only_look_cannot_empty_it(kept, client):
    client.force_login(User.objects.create_user("reader", is_staff=True))
    assert client.post(EMPTY).status_code == 403
    assert kept.size() > 0
