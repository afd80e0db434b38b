"""The grid of a dataset's photos: quick at 100,000, by label, part and flag, with pictures made anew."""

import hashlib
import io
import re
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image

from tests.pages import link
from tests.pictures import encode, exif_segment, inserted, smooth
from trainer.admin.photos import PAGE, SIDE
from trainer.models import Dataset, Photo

pytestmark = pytest.mark.django_db
LABELS = ["beagle", "chow", "papillon", "pug"]
PARTS = ["train"] * 8 + ["validation", "test"]


@pytest.fixture
def dataset(settings, tmp_path: Path) -> Dataset:
    settings.DATASETS_DIR = tmp_path
    return Dataset.objects.create(name="dogs", number=1, status="ready", folder="1-a", labels=LABELS)


def add(dataset: Dataset, count: int) -> None:
    Photo.objects.bulk_create(
        [
            Photo(
                dataset=dataset,
                label=LABELS[number % 4],
                part=PARTS[number // 4 % 10],
                sha256=f"{number:064x}",
                suffix=".jpg",
                pixels=f"{number:064x}",
                phash="0" * 16,
                group=number,
                flag="conflict" if number % 100 == 0 else "",
                name=f"photo-{number:06}.jpg",
                bytes=1,
                width=64,
                height=64,
            )
            for number in range(count)
        ],
        batch_size=5000,
    )


def grid(dataset: Dataset, query: str = "") -> str:
    return reverse("admin:trainer_dataset_photos", args=[dataset.pk]) + query


def names(text: str) -> list[str]:
    return re.findall(r'alt="(photo-\d+\.jpg)"', text)


def test_pages_follow_each_other_both_ways(admin_client, dataset):
    add(dataset, 2 * PAGE + 5)
    first = admin_client.get(grid(dataset)).text
    assert len(names(first)) == PAGE and link(first, "prev") == ""
    second = admin_client.get(grid(dataset, link(first, "next"))).text
    third = admin_client.get(grid(dataset, link(second, "next"))).text
    assert names(first + second + third) == [f"photo-{number:06}.jpg" for number in range(2 * PAGE + 5)]
    assert link(third, "next") == ""
    back = admin_client.get(grid(dataset, link(third, "prev"))).text
    assert names(back) == names(second)
    assert names(admin_client.get(grid(dataset, link(back, "prev"))).text) == names(first)


def test_photos_are_chosen_by_label_part_and_flag(admin_client, dataset):
    add(dataset, 1000)
    text = admin_client.get(grid(dataset, "?label=beagle&part=train&flag=conflict")).text
    expected = [number for number in range(0, 1000, 100) if PARTS[number // 4 % 10] == "train"]
    assert names(text) == [f"photo-{number:06}.jpg" for number in expected]
    assert "under two labels" in text
    assert "No photo is like that." in admin_client.get(grid(dataset, "?label=corgi")).text
    of_label = admin_client.get(grid(dataset, "?label=chow")).text
    assert "label=chow" in link(of_label, "next")


@pytest.mark.parametrize("query", ["?after=x", "?before=-1", "?after=" + "9" * 30, "?part=%00", "?label=" + "x" * 3000])
def test_strange_questions_are_answered(admin_client, dataset, query):
    add(dataset, 5)
    assert admin_client.get(grid(dataset, query)).status_code == 200


def test_100_000_photos_cost_no_more_queries_and_an_index_finds_them(admin_client, dataset):
    add(dataset, 100_000)
    other = Dataset.objects.create(name="cats", number=1, status="ready", labels=LABELS)
    add(other, 100)
    last = Photo.objects.filter(dataset=dataset).latest("pk").pk
    Photo.objects.filter(pk__in=range(last - 10, last)).update(example=True)
    places = ("", f"?after={last - 30}", f"?before={last}")
    for query in (*places, "?label=pug", "?part=test&label=pug", "?flag=conflict", "?flag=example"):
        with CaptureQueriesContext(connection) as queries:
            text = admin_client.get(grid(dataset, query)).text
        assert names(text)
        assert len(queries) <= 6, [one["sql"] for one in queries]
        of_photos = [one for one in queries if 'FROM "trainer_photo"' in one["sql"]]
        assert len(of_photos) == 2  # a page, and how many are examples
        for one in of_photos:
            assert_index_finds(one["sql"])


def assert_index_finds(sql: str, *, sorts: bool = False) -> None:
    """`sorts`: what was found, and is little, may be put in order."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = " ".join(row[-1] for row in cursor.fetchall())
        assert re.search("USING (COVERING )?INDEX", plan) and "SCAN" not in plan, plan
        assert sorts or "TEMP B-TREE" not in plan, plan


@pytest.fixture
def photo(dataset) -> Photo:
    """With a file that says more than its pixels."""
    data = inserted(encode(smooth(1)), exif_segment(b"Exif\0\0a secret place")) + b"<script>alert(1)</script>"
    digest = hashlib.sha256(data).hexdigest()
    photo = Photo.objects.create(
        dataset=dataset, label="pug", part="train", sha256=digest, suffix=".jpg", pixels=digest, phash="0" * 16,
        group=0, name='"><script>alert(1)</script>.jpg', bytes=len(data), width=320, height=240,
    )  # fmt: skip
    photo.file(dataset.path).parent.mkdir(parents=True)
    photo.file(dataset.path).write_bytes(data)
    return photo


def thumbnail(photo: Photo, dataset: Dataset) -> str:
    return reverse("admin:trainer_dataset_thumbnail", args=[dataset.pk, photo.pk])


def test_a_thumbnail_is_a_fresh_picture(admin_client, dataset, photo):
    answer = admin_client.get(thumbnail(photo, dataset))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).size == (SIDE, SIDE * 3 // 4)
    assert b"secret" not in answer.content and b"script" not in answer.content
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in answer.headers["Cache-Control"] and "immutable" in answer.headers["Cache-Control"]


def test_a_photo_that_changed_on_the_disk_is_not_shown(admin_client, dataset, photo):
    photo.file(dataset.path).write_bytes(encode(smooth(2)))
    assert admin_client.get(thumbnail(photo, dataset)).status_code == 404
    photo.file(dataset.path).unlink()
    assert admin_client.get(thumbnail(photo, dataset)).status_code == 404


def test_a_photo_is_shown_under_its_own_dataset_alone(admin_client, dataset, photo):
    other = Dataset.objects.create(name="cats", number=1, status="ready")
    assert admin_client.get(thumbnail(photo, other)).status_code == 404


def test_names_are_shown_as_text(admin_client, dataset, photo):
    text = admin_client.get(grid(dataset)).text
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text


def test_the_page_of_a_dataset_leads_to_its_photos(admin_client, dataset):
    change = reverse("admin:trainer_dataset_change", args=[dataset.pk])
    assert f'href="{grid(dataset)}"' in admin_client.get(change).text
    Dataset.objects.update(folder="")
    assert grid(dataset) not in admin_client.get(change).text
