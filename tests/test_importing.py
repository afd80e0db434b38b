"""An import from its start to its end: all of it or nothing, whatever happens meanwhile."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from breedsite import reconciling
from tests.archives import CASES, OK
from tests.barriers import after_photos
from tests.corpus import CASES as PICTURES
from tests.photos import draw, encoded, write_photos
from tests.processes import running
from trainer import tasks
from trainer.ingest.record import Record
from trainer.ingest.store import Photo as Kept
from trainer.ingest.store import keep
from trainer.models import Dataset, Photo, importing
from trainer.models.importing import perform
from trainer.models.leftovers import sweep

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def place(settings, tmp_path, monkeypatch) -> Path:
    settings.DATASETS_DIR = tmp_path / "data" / "datasets"
    settings.UPLOADS_DIR = tmp_path / "data" / "uploads"
    settings.UPLOADS_DIR.mkdir(parents=True)
    settings.CORES = 1
    monkeypatch.setattr(Dataset, "ring", lambda: True)
    return tmp_path


def begun(path: Path, **options) -> Dataset:
    return Dataset.objects.begin("dogs", path, source_kind="server", source_name=path.name, options=options)


def imported(path: Path, **options) -> Dataset:
    dataset = begun(path, **options)
    perform(dataset)
    dataset.refresh_from_db()
    return dataset


def left() -> list[str]:
    folder = Path(django_settings.DATASETS_DIR)
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.django_db
def test_photos_become_rows_and_files_named_by_their_content(place):
    dataset = imported(write_photos(place / "photos", count=20))
    assert (dataset.status, dataset.labels, dataset.failure) == ("ready", ["chow", "pug"], "")
    assert dataset.counts == dataset.count_photos() == {"train": 32, "validation": 4, "test": 4}
    assert (dataset.progress_done, dataset.progress_total) == (40, 40)
    assert len(dataset.fingerprint) == 64 and dataset.token is None
    photo = dataset.photos.get(name="chow/3.png")
    assert photo.file(dataset.path).read_bytes() == encoded(draw(0, 3))
    assert (photo.width, photo.height, photo.flag, photo.label) == (32, 32, "", "chow")
    files = [file for file in dataset.path.rglob("*") if file.is_file()]
    assert len(files) == 40
    assert sum(len(list(dataset.records(part))) for part in dataset.counts) == 40


@pytest.mark.django_db
def test_the_division_depends_on_content_and_seed_alone(place):
    photos = write_photos(place / "photos", count=20)
    first = imported(photos)
    shutil.copytree(photos / "chow", place / "again" / "chow")
    for file in (photos / "pug").iterdir():
        (place / "again" / "pug").mkdir(exist_ok=True)
        shutil.copy(file, place / "again" / "pug" / f"other {file.name}")
    second, third = imported(place / "again"), imported(photos, seed=2)
    assert first.fingerprint == second.fingerprint != third.fingerprint
    parts = [dict(dataset.photos.values_list("sha256", "part")) for dataset in (first, second)]
    assert parts[0] == parts[1]
    assert (str(first), str(third)) == ("dogs:1", "dogs:3")


@pytest.mark.django_db
def test_the_task_imports_what_waits_until_nothing_does(place):
    photos = write_photos(place / "photos", count=5)
    for _ in range(2):
        Dataset.objects.enqueue("dogs", photos, source_kind="server")
    tasks.import_datasets()
    assert set(Dataset.objects.values_list("status", flat=True)) == {"ready"}


@pytest.mark.django_db
def test_a_refused_dataset_keeps_its_report_and_no_photo(place):
    photos = write_photos(place / "photos", count=5)
    (photos / "pug" / "broken.png").write_bytes(b"")
    dataset = imported(photos)
    assert dataset.status == "refused"
    assert dataset.failure.startswith("1 of 11 photos cannot be read")
    assert dataset.report["unreadable"]["listed"][0][0] == "pug/broken.png"
    assert left() == [] and not Photo.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_hostile_archive_leaves_nothing_anywhere(name: str, place: Path):
    file = place / f"{name}.zip"
    CASES[name].write(file)
    before = {entry for entry in place.rglob("*") if "datasets" not in entry.parts}
    dataset = imported(file)
    assert {entry for entry in place.rglob("*") if "datasets" not in entry.parts} == before
    if CASES[name].code == OK:
        assert dataset.status in ("ready", "refused"), dataset.failure
        assert "refused" not in dataset.status or dataset.report["refusals"]
    else:
        assert dataset.status == "refused" and CASES[name].member in dataset.failure
        assert left() == [] and not Photo.objects.exists()


def test_hostile_pictures_are_left_out_with_the_codes_of_every_other_door(place):
    """The corpus of pictures as members: the same answers as the page and the API give, and no import dies of one."""
    records = [Record(name, "dog", lambda case=case: case.data) for name, case in PICTURES.items()]
    said = {
        record.name: OK if isinstance(one, Kept) else one.code
        for record, one in zip(records, keep(records, place / "kept", count=len(records), sandboxes=2), strict=True)
    }
    wrong = {name: code for name, code in said.items() if code not in PICTURES[name].codes}
    assert wrong == {}


@pytest.mark.django_db
def test_a_cancelled_import_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(importing, "LOOK_SECONDS", 0)
    dataset = begun(write_photos(place / "photos", count=10))
    assert Dataset.objects.get().stop()
    perform(dataset)
    dataset.refresh_from_db()
    assert (dataset.status, left(), Photo.objects.count()) == ("cancelled", [], 0)


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_worker_leaves_gives_itself_back(place, monkeypatch, settings):
    """Also in the middle of what says nothing for minutes; it has not died of that."""
    monkeypatch.setattr(importing, "LEAVE_SECONDS", 0.01)
    going = threading.Event()

    def long(*_: object, **__: object) -> None:
        going.set()
        end = time.monotonic() + 10
        while Dataset.objects.get().status == "importing" and time.monotonic() < end:
            time.sleep(0.01)
        raise OSError(2, "its folder was swept meanwhile")

    monkeypatch.setattr("trainer.report.examine", long)
    monkeypatch.setattr(tasks, "leaving", going.is_set)
    Dataset.objects.enqueue("dogs", write_photos(place / "photos", count=5), source_kind="server")
    tasks.import_datasets()
    row = Dataset.objects.get()
    assert (row.status, row.token, row.deaths, row.attempt, row.failure) == ("queued", None, 0, 1, "")
    assert left() == []
    tasks.import_datasets()
    assert Dataset.objects.get().attempt == 1, "it leaves, and begins nothing"


@pytest.mark.django_db
def test_who_comes_further_than_before_has_not_died_in_vain(place, monkeypatch):
    monkeypatch.setattr(importing, "LOOK_SECONDS", 0)
    deaths = []
    beat = Dataset.beat

    def noted(self: Dataset, **changes: int) -> bool:
        ours = beat(self, **changes)
        deaths.append((self.progress_done, Dataset.objects.get().deaths))
        return ours

    dataset = begun(write_photos(place / "photos", count=5))
    Dataset.objects.update(deaths=2, progress_done=6)
    dataset.refresh_from_db()
    monkeypatch.setattr(Dataset, "beat", noted)
    perform(dataset)
    assert dict(deaths)[6] == 2 and dict(deaths)[7] == 0


@pytest.mark.django_db
def test_what_a_killed_import_left_goes_without_another_import(place, settings):
    """Its folder and its upload, once it has failed for good; a whole folder without a row stays."""
    archive = settings.UPLOADS_DIR / "a.zip"
    archive.write_bytes(b"PK")
    dataset = Dataset.objects.begin("dogs", archive, source_kind="upload", source_name="photos.zip")
    staging = f"{dataset.pk}-{dataset.token.hex[:12]}.tmp"
    for name in (staging, "7-abcdef"):
        (settings.DATASETS_DIR / name).mkdir(parents=True)
    reconciling.reconcile()
    assert left() == sorted([staging, "7-abcdef"]) and archive.exists()
    Dataset.objects.update(deaths=2, heartbeat_at=None, created_at=dataset.created_at - timedelta(hours=1))
    Dataset.objects.update(started_at=dataset.created_at - timedelta(hours=1))
    reconciling.reconcile()
    assert (Dataset.objects.get().status, left(), archive.exists()) == ("failed", ["7-abcdef"], False)


@pytest.mark.django_db
def test_a_zip_that_is_sent_again_after_the_end_waits_for_its_dataset(place, settings):
    archive = settings.UPLOADS_DIR / "a.zip"
    dataset = Dataset.objects.begin("dogs", archive, source_kind="upload", source_name="photos.zip")
    perform(dataset)
    assert dataset.status == "refused"
    archive.write_bytes(b"PK")
    Dataset.tidy()
    assert archive.exists()


@pytest.mark.django_db
def test_who_lost_the_claim_changes_nothing(place):
    dataset = begun(write_photos(place / "photos", count=5))
    other = uuid.uuid4()
    Dataset.objects.update(token=other)
    perform(dataset)
    row = Dataset.objects.get()
    assert (row.status, row.token, left(), Photo.objects.count()) == ("importing", other, [], 0)


@pytest.mark.django_db(transaction=True)
def test_losing_the_claim_at_the_last_moment_takes_the_photos_back(place, monkeypatch):
    dataset = begun(write_photos(place / "photos", count=5))
    monkeypatch.setattr(Dataset, "finish", lambda self, *args, **fields: False)
    perform(dataset)
    assert (left(), Photo.objects.count()) == ([], 0)


@pytest.mark.django_db
def test_a_full_disk_is_said_and_leaves_nothing(place, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.ingest.store._write", full)
    dataset = imported(write_photos(place / "photos", count=5))
    assert (dataset.status, left()) == ("failed", [])
    assert dataset.failure.startswith("The disk is full: there is less room than the photos need.")


@pytest.mark.django_db(transaction=True)
def test_an_import_that_meets_a_database_that_is_away_waits_for_another_attempt(place, monkeypatch):

    def away(*_: object, **__: object) -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(Photo.objects, "bulk_create", away)
    dataset = imported(write_photos(place / "photos", count=5))
    assert (dataset.status, dataset.deaths, left()) == ("queued", 1, [])


@pytest.mark.django_db
def test_an_unforeseen_fault_ends_the_import_and_is_raised(place, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr("trainer.report.examine", broken)
    with pytest.raises(RuntimeError):
        imported(write_photos(place / "photos", count=5))
    assert (Dataset.objects.get().status, left()) == ("failed", [])


@pytest.mark.django_db
def test_an_upload_is_removed_however_it_ends(place, settings):
    for count, status in ((5, "ready"), (1, "refused")):
        archive = shutil.make_archive(
            str(settings.UPLOADS_DIR / "a"), "zip", write_photos(place / str(count), count=count)
        )
        dataset = Dataset.objects.begin("dogs", Path(archive), source_kind="upload", source_name="photos.zip")
        perform(dataset)
        assert dataset.status == status
        assert list(settings.UPLOADS_DIR.iterdir()) == []


@pytest.mark.django_db
def test_the_sweep_spares_what_is_known_and_what_is_young(place, settings):
    kept = imported(write_photos(place / "photos", count=5))
    at_work = begun(place / "photos")
    for name in ("6-another-database", "7-abc", "7-abc.tmp", f"{at_work.pk}-{at_work.token.hex[:12]}.tmp"):
        (settings.DATASETS_DIR / name).mkdir()
    (settings.DATASETS_DIR / "7-abc" / "unpublished").touch()
    for name, age in (("old.zip", 90_000), ("young.zip", 10)):
        (settings.UPLOADS_DIR / name).write_bytes(b"PK")
        os.utime(settings.UPLOADS_DIR / name, (time.time() - age,) * 2)
    sweep(Dataset.objects.all())
    assert left() == sorted(["6-another-database", kept.folder, f"{at_work.pk}-{at_work.token.hex[:12]}.tmp"])
    assert not (settings.DATASETS_DIR / kept.folder / "unpublished").exists()
    assert [file.name for file in settings.UPLOADS_DIR.iterdir()] == ["young.zip"]


@pytest.mark.django_db(transaction=True)
def test_killed_half_way_nothing_is_visible_and_the_next_attempt_ends_it(place, settings):
    """kill -9 of a process that imports; its lease runs out, and the row is imported anew."""
    photos = write_photos(place / "photos", count=100)
    after_photos(place, 20)
    dataset = begun(photos)
    code = (
        "import django, sys; django.setup()\n"
        "from django.conf import settings; from pathlib import Path\n"
        "from django.db import connections; connections['default'].settings_dict['NAME'] = sys.argv[2]\n"
        "settings.DATASETS_DIR, settings.UPLOADS_DIR, settings.CORES = Path(sys.argv[1]), Path(sys.argv[1]), 1\n"
        "from trainer.models import Dataset; from trainer.models.importing import perform\n"
        "perform(Dataset.objects.get())"
    )
    database = str(connection.settings_dict["NAME"])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.DATASETS_DIR), database],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "breedsite.settings", "PYTHONPATH": str(place)},
    )
    end = time.monotonic() + 60
    while len(list(settings.DATASETS_DIR.rglob("*.png"))) < 20:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not running(process.pid)
    row = Dataset.objects.get()
    assert (row.status, row.folder, Photo.objects.count(), dataset.path == row.path) == ("importing", "", 0, True)
    assert left() == [f"{dataset.pk}-{dataset.token.hex[:12]}.tmp"]

    settings.LEASE_SECONDS = 0
    settings.BACKOFF_SECONDS = [0]
    assert Dataset.objects.all().take_back(0) == 1
    tasks.import_datasets()
    row.refresh_from_db()
    assert (row.status, row.attempt, Photo.objects.count()) == ("ready", 2, 200)
    assert left() == [row.folder]


# --- the command


@pytest.mark.django_db
def test_the_command_imports_in_the_foreground(place, capsys):
    write_photos(place / "photos", ("cane", "gatto"), count=10)
    (place / "names.csv").write_text("from,to\ncane,dog\ngatto,cat\n")
    arguments = [place / "photos", "--name", "animals", "--seed", "3", "--fractions", "0.6", "0.2", "0.2"]
    call_command("importdataset", *arguments, "--rename", place / "names.csv")
    dataset = Dataset.objects.get()
    assert dataset.labels == ["cat", "dog"]
    assert dataset.counts == {"train": 12, "validation": 4, "test": 4}
    said = capsys.readouterr().out
    assert "Divided 60/20/20 by content and seed 3" in said
    assert "animals:1 is ready: 2 labels; train 12, validation 4, test 4" in said


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--name", "Not a Name"], "Use small letters"),
        (["--name", "dogs", "--fractions", "0.9", "0.2", "0.1"], "sum to 1"),
        (["--name", "dogs", "--rename", "/nowhere.csv"], "No such file"),
        (["--name", "dogs"], "There is no file nowhere.zip."),
    ],
)
def test_the_command_says_what_is_wrong(place, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("importdataset", place / "nowhere.zip", *arguments)
    assert not Dataset.objects.exclude(status="refused").exists()


@pytest.mark.django_db(transaction=True)
def test_the_command_says_that_an_interrupted_import_waits_for_a_worker(place, monkeypatch):
    def away(*_: object, **__: object) -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(Photo.objects, "bulk_create", away)
    with pytest.raises(CommandError, match=r"dogs:1 was interrupted and waits in the queue, where a worker begins"):
        call_command("importdataset", write_photos(place / "photos", count=5), "--name", "dogs")
