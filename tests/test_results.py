"""The files that tell what a batch found: read them as others do."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from classifier.results import FORMATS, Found, Row

LABELS = ("pug", "chow", "beagle")


def answered(position: int, name: str, *probabilities: float, label: str = "", sure: bool = True) -> Row:
    given = np.array(probabilities, np.float32)
    label = label or LABELS[int(given.argmax())]
    return Row(position, name, "answered", "", "", label, float(given[LABELS.index(label)]), sure, False, given)


def refused(position: int, name: str) -> Row:
    return Row(position, name, "refused", "image_corrupt", "This file is damaged.", "", None, None, False, None)


ROWS = [
    answered(0, "a/one.jpg", 0.7, 0.2, 0.1),
    refused(1, "a/two.jpg"),
    answered(2, "three.jpg", 0.4, 0.35, 0.25, label="chow", sure=False),
    Row(3, "four.jpg", "pending", "", "", "", None, None, False, None),
]


def written(kind: str, rows: list[Row] = ROWS, versions: tuple[str, ...] = ("dogs:1",)) -> str:
    return "".join(FORMATS[kind].write(Found(LABELS, versions, "mean", rows)))


def table(kind: str, **given) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(kind, **given))))


def test_a_table_has_a_line_for_each_photo_in_order():
    lines = table("csv")
    assert [line["file"] for line in lines] == ["a/one.jpg", "a/two.jpg", "three.jpg", "four.jpg"]
    assert [line["position"] for line in lines] == ["1", "2", "3", "4"]
    assert [line["status"] for line in lines] == ["answered", "refused", "answered", "pending"]
    first, second, third, _ = lines
    assert (first["label"], first["probability"], first["sure"]) == ("pug", "0.700000", "yes")
    assert (first["label_2"], first["probability_2"], first["label_3"]) == ("chow", "0.200000", "beagle")
    assert (second["code"], second["detail"], second["label"]) == ("image_corrupt", "This file is damaged.", "")
    assert (third["label"], third["sure"], third["label_2"], third["label_3"]) == ("chow", "no", "pug", "beagle")
    assert first["version"] == "dogs:1"


def test_a_table_of_several_versions_says_which_and_how():
    assert table("csv", versions=("dogs:2", "cats:1"))[0]["version"] == "mean of dogs:2 cats:1"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize("kind", ["csv", "category", "probabilities"])
def test_no_cell_becomes_a_formula(begin, kind):
    name = f"{begin}cmd|' C calc'!A0.jpg"
    lines = list(csv.reader(io.StringIO(written(kind, rows=[answered(0, name, 1, 0, 0)]), newline="")))
    cells = [cell for line in lines for cell in line]
    assert any("cmd" in cell for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


def test_json_lines_are_objects_as_the_command_writes_them():
    first, second, third, fourth = map(json.loads, written("jsonl").splitlines())
    assert first["file"] == "a/one.jpg" and first["label"] == "pug" and first["versions"] == ["dogs:1"]
    assert [one["label"] for one in first["top"]] == ["pug", "chow", "beagle"] and "combine" not in first
    assert second == {"file": "a/two.jpg", "code": "image_corrupt", "detail": "This file is damaged."}
    assert third["sure"] is False and third["label"] == "chow"
    assert fourth == {"file": "four.jpg", "status": "pending"}


def test_competitions_get_a_category_for_each_id():
    assert written("category").splitlines() == ["id,category", "one,pug", "two,", "three,chow", "four,"]


def test_competitions_get_a_column_for_each_label_in_alphabetical_order():
    lines = table("probabilities")
    assert list(lines[0]) == ["id", "beagle", "chow", "pug"]
    assert [float(lines[0][label]) for label in ("pug", "chow", "beagle")] == pytest.approx([0.7, 0.2, 0.1])
    assert lines[1]["pug"] == "" and lines[1]["id"] == "two"
