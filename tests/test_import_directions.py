"""Who may import whom: read from the source, and for torch and its weight tried in a process of its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
APPS = ("classifier", "trainer")
FRAMEWORKS = {"django", "rest_framework", "drf_spectacular", "corsheaders", "celery", "kombu", "breedsite"}
DJANGO_NAMES = {
    *("models", "api", "serializers", "views", "forms", "urls", "tasks", "admin", "checks", "apps", "management"),
    *("migrations", "parsers", "throttles", "schema"),  # the last three are names of Django REST framework
}
LEARNING = {"torch", "torchvision", "timm"}
FILES = sorted(file for app in (*APPS, "breedsite") for file in (ROOT / app).rglob("*.py"))


def name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name(file) for file in FILES}


def imports(file: Path) -> set[str]:
    """Every module that a file names, wherever in it, as `package.module`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively in line {node.lineno}"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES
    return found


def packages(file: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(file)}


def is_django(module: str) -> bool:
    """Whether a module of an app has a Django name: the second part of it decides."""
    parts = module.split(".")
    return parts[0] in APPS and len(parts) > 1 and parts[1] in DJANGO_NAMES


MODELS = [file for file in FILES if name(file).split(".")[1:2] == ["models"]]
PLAIN = [file for file in FILES if name(file).split(".")[0] in APPS and not is_django(name(file))]


def test_there_is_something_to_read():
    assert {"classifier.artifact", "classifier.predictor", "classifier.guard"} <= {name(file) for file in PLAIN}
    assert {"breedsite.models", "classifier.models", "trainer.models", "trainer.models.run"} <= set(map(name, MODELS))


@pytest.mark.parametrize("file", [file for file in FILES if "classifier" in file.parts], ids=name)
def test_the_classifier_never_imports_the_trainer(file):
    assert "trainer" not in packages(file)


@pytest.mark.parametrize("file", PLAIN, ids=name)
def test_a_plain_module_knows_no_framework_and_no_module_with_a_django_name(file):
    assert packages(file) & FRAMEWORKS == set()
    assert [module for module in imports(file) if is_django(module)] == []


@pytest.mark.parametrize("file", MODELS, ids=name)
def test_models_import_no_view_task_admin_form_or_serializer(file):
    named = {module.split(".")[1] for module in imports(file) if is_django(module)}
    assert named <= {"models"}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_are_absolute(file):
    imports(file)  # refuses relative ones


@pytest.mark.parametrize("package", ["breedsite", *APPS])
def test_the_file_that_makes_an_app_is_empty(package):
    assert (ROOT / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize("file", [file for file in FILES if packages(file) & LEARNING], ids=name)
def test_torch_lives_in_the_networks_and_in_the_trainer_alone(file):
    module = name(file)
    assert module.startswith(("classifier.networks.", "trainer.")) or module == "classifier.engines.torch"
    assert not is_django(module)


def run(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = f"import sys; print(*sorted({{module.split('.')[0] for module in sys.modules}} & {LEARNING!r}))"


@pytest.mark.parametrize("entry", ["breedsite.wsgi", "breedsite.server", "breedsite.urls", "breedsite.celery"])
def test_the_web_process_and_the_celery_parent_never_import_torch(entry):
    code = (
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'breedsite.settings'; django.setup()\n"
        f"import {entry}, importlib, importlib.util\n"
        "from breedsite.celery import app; app.loader.import_default_modules()\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
    )
    assert run(code + LOADED) == ""


def test_a_prediction_needs_neither_torch_nor_django(artifact_folder, picture, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(picture)
    code = (
        "import sys; from pathlib import Path; folder, photo = map(Path, sys.argv[1:])\n"
        "from classifier import artifact; from classifier.predictor import Identity, Predictor\n"
        "predictor = Predictor(threads=1, places=1, max_wait_seconds=1)\n"
        "predictor.load(Identity('tiny', 1, artifact.digest(folder)), folder)\n"
        "assert predictor.predict(photo.read_bytes()).label\n"
        "assert 'django' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    assert run(code + LOADED, str(artifact_folder), str(tmp_path / "photo.jpg")) == ""
