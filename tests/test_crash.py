"""The places at which a process can be made to die: each once in the source, and harmless unless asked for."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from classifier.crash import POINTS

ROOT = Path(__file__).resolve().parent.parent
CODE = "from classifier import crash; crash.here('after_claim'); print('alive')"


def test_every_point_of_the_list_is_in_the_source_once_and_no_other():
    named: Counter[str] = Counter()
    for file in (file for app in ("breedsite", "classifier", "trainer") for file in (ROOT / app).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "crash.here":
                named[ast.literal_eval(node.args[0])] += 1
    assert named == dict.fromkeys(POINTS, 1)


def die(**environment: str) -> subprocess.CompletedProcess[str]:
    named = {name: value for name, value in os.environ.items() if name != "BREEDSITE_CRASH"}
    return subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=named | environment, capture_output=True, text=True
    )


def test_a_process_that_nobody_asked_to_die_lives(tmp_path):
    (tmp_path / "after_claim").touch()
    assert die().stdout == "alive\n"
    assert (tmp_path / "after_claim").exists()


def test_a_file_kills_one_process_at_its_point(tmp_path):
    (tmp_path / "after_claim").touch()
    (tmp_path / "after_step").touch()
    assert die(BREEDSITE_CRASH=str(tmp_path)).returncode == -signal.SIGKILL
    assert die(BREEDSITE_CRASH=str(tmp_path)).stdout == "alive\n"
    assert [file.name for file in tmp_path.iterdir()] == ["after_step"]
