"""The hostile corpus at the command line: a line for each file, in order, with the code of the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.corpus import CASES, OK

pytestmark = pytest.mark.alone


@pytest.mark.parametrize("options", [[], ["--sandbox"]], ids=["in the process", "in a sandbox"])
def test_predict_answers_every_file_as_the_table_says(active_version, options: list[str], tmp_path: Path, capsys):
    files = []
    for number, case in enumerate(CASES.values()):
        files.append(tmp_path / f"{number}-{case.name}")
        files[-1].write_bytes(case.data)
    with pytest.raises(SystemExit, match="1"):
        call_command("predict", *files, *options)
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    codes = {name: answer.get("code", OK) for name, answer in zip(CASES, answers, strict=True)}
    assert {name: code for name, code in codes.items() if code not in CASES[name].codes} == {}
    warned = {name for name, answer in zip(CASES, answers, strict=True) if "warning" in answer}
    assert warned == {name for name, case in CASES.items() if case.animated}
