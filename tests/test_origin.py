import subprocess

from trainer import origin as origin_module
from trainer.origin import Card, code_version, origin
from trainer.recipe import Recipe

CARD = Card("photos", "none", None, "ours", "curiosity", ["anything that matters"])


def test_it_holds_the_card_and_what_it_takes_to_make_the_model_again():
    found = origin(
        CARD,
        Recipe(seed=7),
        command="python -m x",
        dataset_fingerprint="ab",
        duration_seconds=12.6,
        facts={"best_epoch": 3},
    )
    assert found["not_for"] == ["anything that matters"]
    assert found["seed"] == found["recipe"]["seed"] == 7
    assert found["duration_seconds"] == 13
    assert found["best_epoch"] == 3
    assert found["packages"].keys() >= {"python", "torch", "torchvision", "timm", "onnxruntime"}
    assert found["device"].endswith("threads")


def test_the_code_version_is_a_commit_and_says_when_files_differ(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(origin_module, "ROOT", tmp_path)
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "loop.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = code_version()
    assert len(commit) >= 7
    assert " " not in commit
    (tmp_path / "README.md").write_text("says nothing about the weights")
    assert code_version() == commit
    (tmp_path / "trainer" / "loop.py").write_text("2")
    assert code_version() == f"{commit} with changes"


def test_outside_a_checkout_the_code_version_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(origin_module, "ROOT", tmp_path)
    assert code_version() == "unknown"
