import json

import pytest
from django.core.management import CommandError, call_command

from tests.squares import make_dataset


def test_it_writes_each_layer_and_the_sums(capsys, settings):
    settings.WEIGHTS_DIR = None
    call_command("architecture", "resnet9", "--labels", "10", "--size", "32")
    *layers, sums, weights = capsys.readouterr().out.splitlines()
    assert layers[0].split() == ["features.0.0", "Conv2d", "64x32x32", "1,792", "1,792"]
    assert layers[-1].split() == ["head", "Linear", "10", "5,130", "5,130"]
    assert sums.startswith("6,575,370 parameters, 6,575,370 of them learn; 4,480 batch-norm statistics; 10 labels")
    assert weights.endswith("no published weights of resnet9: set weights to random.")


def test_it_counts_what_learns_and_says_where_the_weights_are(capsys, settings, tmp_path):
    settings.WEIGHTS_DIR = tmp_path
    arguments = (
        "architecture",
        "squeezenet1_1",
        "--labels",
        "5",
        "--size",
        "64",
        "--head",
        "16",
        "--trainable",
        "head",
    )
    call_command(*arguments, "--json")
    table = json.loads(capsys.readouterr().out)
    assert table["trainable"] == (512 + 1) * 16 + (16 + 1) * 5
    call_command(*arguments)
    assert f"put the file {table['weights_file']} into {tmp_path}." in capsys.readouterr().out
    (tmp_path / "squeezenet1_1.safetensors").touch()
    call_command(*arguments)
    assert capsys.readouterr().out.endswith(f"Pretrained weights: {tmp_path}/squeezenet1_1.safetensors\n")


@pytest.mark.django_db
def test_it_counts_the_labels_of_a_dataset(capsys, settings, tmp_path):
    settings.DATASETS_DIR = tmp_path
    make_dataset()
    call_command("architecture", "resnet9", "--dataset", "squares", "--size", "32")
    assert "; 3 labels, 32x32 pixels." in capsys.readouterr().out
    with pytest.raises(CommandError, match=r"There is no dataset 'cubes'\. Ready: squares:1\."):
        call_command("architecture", "resnet9", "--dataset", "cubes")
    with pytest.raises(CommandError, match="not allowed with"):
        call_command("architecture", "resnet9", "--dataset", "squares", "--labels", "4")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["resnet19"], "there is none named 'resnet19'. Did you mean"),
        (["resnet18", "--head", "wide"], "head must be linear or"),
        (["resnet18", "--labels", "1"], "--labels must be at least 2"),
        (["vit_b_16", "--size", "64"], "vit_b_16 cannot take pictures of 64x64 pixels"),
    ],
)
def test_it_says_what_is_wrong(arguments: list[str], sentence: str):
    with pytest.raises(CommandError, match=sentence):
        call_command("architecture", *arguments)
