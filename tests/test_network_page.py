"""The page of a network's layers: from the data kept with the code, or from a process of its own; no torch here."""

import re
import sys

import pytest
from django.urls import reverse

from classifier.architectures import tables
from trainer import layers
from trainer.layers import LayersError, layer_table
from trainer.models import Dataset
from trainer.recipe import Recipe

PAGE = reverse("admin:trainer_trainingrun_network")


def counted(text: str) -> str:
    return re.search(r"<strong>([^<]* learn)</strong>", text)[1]


@pytest.fixture
def no_process(monkeypatch):
    """What is kept needs no process."""

    def refuse(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(layers, "computed", refuse)


@pytest.mark.parametrize("table", tables(), ids=lambda table: table["architecture"]["name"])
def test_what_is_kept_is_shown_as_it_is(no_process, table):
    head = table["architecture"]["head"]
    text = "linear" if head["kind"] == "linear" else "-".join(map(str, head["layers"]))
    recipe = Recipe(
        architecture=table["architecture"]["name"],
        image_size=table["image_size"],
        head=text,
        head_dropout=head.get("dropout", 0.0),
    )
    assert layer_table(recipe, table["label_count"]) == table


def test_another_number_of_labels_changes_the_last_layer_alone(no_process, monkeypatch):
    recipe = Recipe(architecture="resnet9", image_size=32)
    found = layer_table(recipe, 37)
    assert found["layers"][-1] == ["head", "Linear", [37], 513 * 37, 513 * 37]
    monkeypatch.undo()
    assert found == layers.computed('{"name": "resnet9", "head": {"kind": "linear"}}', 37, 32, "all", 1)


def test_what_is_not_kept_is_counted_once(monkeypatch):
    recipe = Recipe(architecture="squeezenet1_1", image_size=64, trainable="head")
    found = layer_table(recipe, 5)
    assert found["trainable"] == 513 * 5 < found["parameters"]
    monkeypatch.setattr(layers.subprocess, "run", None)  # would raise
    assert layer_table(recipe, 5) == found and layer_table(recipe, 5) is not found


def test_a_network_that_cannot_be_says_why():
    with pytest.raises(LayersError, match="vit_b_16 cannot take pictures of 64x64 pixels"):
        layer_table(Recipe(architecture="vit_b_16", image_size=64), 10)
    with pytest.raises(LayersError, match="tells 2 to 100000 labels apart"):
        layer_table(Recipe(architecture="resnet9", image_size=32), 1)


@pytest.mark.django_db
def test_the_page_counts_for_the_labels_of_a_dataset(admin_client, no_process):
    dataset = Dataset.objects.create(name="dogs", number=1, status="ready", labels=[f"label {n}" for n in range(37)])
    query = f"?architecture=resnet9&image_size=32&dataset={dataset.pk}"
    text = admin_client.get(PAGE + query).text
    assert counted(text) == "6,589,221 parameters, 6,589,221 of them learn"
    assert "resnet9, 37 labels, 32 x 32 pixels" in text
    assert "4,480 statistics of batch norm" in text and "Nobody has published weights of it" in text
    assert "<code>features.0.0</code>" in text and "64 x 32 x 32" in text
    by_number = admin_client.get(f"{PAGE}?architecture=resnet9&image_size=32&labels=37").text
    assert counted(by_number) == counted(text)


@pytest.mark.django_db
def test_the_first_look_shows_a_network(admin_client):
    text = admin_client.get(PAGE).text
    assert counted(text) == "2,236,682 parameters, 2,236,682 of them learn"
    assert text.count("<option value=") > 1000


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("architecture=resnet19", "there is none named"),
        ("architecture=resnet9&labels=1", "greater than or equal to 2"),
        ("architecture=resnet9&dataset=99", "Select a valid choice"),
        ("architecture=resnet9&image_size=x", "Enter a whole number"),
        ("architecture=%00<script>alert(1)</script>", "Null characters are not allowed"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(admin_client, query, sentence):
    answer = admin_client.get(f"{PAGE}?{query}")
    assert answer.status_code == 200 and sentence in answer.text
    assert "<script>alert" not in answer.text and 'class="layers"' not in answer.text


@pytest.mark.django_db
def test_the_form_of_a_run_leads_to_the_layers_of_its_network(admin_client):
    text = admin_client.get(reverse("admin:trainer_trainingrun_add") + "?preset=cifar10-resnet9").text
    link = re.search(r'id="layers" href="([^"]+)"', text)[1].replace("&amp;", "&")
    assert link.startswith(f"{PAGE}?architecture=resnet9&") and "image_size=32" in link
    assert "parameters" in admin_client.get(link).text


def test_the_web_process_knows_no_torch_for_it():
    import subprocess

    code = "import django, sys; django.setup(); import trainer.admin.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
