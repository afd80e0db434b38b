#!/usr/bin/env python3
"""From a zip of photos to a version that answers, by the API alone. Python's standard library and nothing else.

    export BREEDSITE_KEY=breedsite_…    # manage.py apikey create ann trainer --scope admin
    python docs/train_by_api.py http://127.0.0.1:8000 dogs.zip rex.jpg --name dogs --preset transfer --set epochs=5

The zip holds a folder for each label. What is asked to be made is asked for with an Idempotency-Key, so that a lost
answer costs nothing: the same request is sent again, and nothing is made twice.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PIECE_BYTES = 2 * 1024**2  # of the zip in one request
TRIES = 6  # until the server, or the way to it, is given up
WAIT_SECONDS = 1.0  # between two looks at something that takes long


class Refused(Exception):
    """The server said no, and why: `problem` is its answer (application/problem+json)."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class Site:
    """A breedsite, asked with a key."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address.rstrip("/")
        self.key = key

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def make(self, path: str, wanted: Mapping[str, Any]) -> Any:
        """Ask for something new, once."""
        body = json.dumps(wanted).encode()
        return self.ask("POST", path, body, "application/json", **{"Idempotency-Key": str(uuid.uuid4())})

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", **headers: str) -> Any:
        """The JSON of the answer. Sent again while the server is busy or away; raises Refused for anything else."""
        headers["Authorization"] = f"Bearer {self.key}"
        if kind:
            headers["Content-Type"] = kind
        for left in reversed(range(TRIES)):
            request = urllib.request.Request(self.address + path, body, headers, method=method)  # noqa: S310
            wait = WAIT_SECONDS
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                problem = json.load(error)
                again = error.code in (429, 503) or problem["code"] == "request_in_progress"
                if not (again and left):
                    raise Refused(problem) from None
                wait = float(error.headers.get("Retry-After") or WAIT_SECONDS)
            except OSError as error:  # no answer: it may have arrived all the same
                if not left:
                    raise SystemExit(f"{self.address} does not answer: {error}") from error
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")


def send(site: Site, file: Path) -> str:
    """Send a zip piece by piece; the number under which it lies at the server. A piece that was lost is sent again."""
    number, total, offset = str(uuid.uuid4()), file.stat().st_size, 0
    with file.open("rb") as source:
        while offset < total:
            source.seek(offset)
            address = f"/api/datasets/upload/{number}?offset={offset}&total={total}"
            try:
                answer = site.ask("PUT", address, source.read(PIECE_BYTES), "application/octet-stream")
            except Refused as refusal:
                if refusal.problem["code"] != "wrong_offset":
                    raise
                answer = refusal.problem  # it says how much is there
            offset = answer["received"]
            print(f"{file.name}: {offset} of {total} bytes sent")
    return number


def imported(site: Site, dataset: Mapping[str, Any]) -> Any:
    """Wait until the photos are in; the dataset. Raises SystemExit where they cannot be trained on."""
    while dataset["active"]:
        time.sleep(WAIT_SECONDS)
        dataset = site.get(dataset["url"])
        done, total = dataset["progress"]["done"], dataset["progress"]["total"]
        print(f"{dataset['dataset']} is {dataset['status']}: {dataset['waiting'] or f'{done} of {total} photos'}")
    if dataset["status"] != "ready":
        raise SystemExit(f"{dataset['dataset']} is {dataset['status']}: {dataset['failure']}")
    print(f"{dataset['dataset']} has {dataset['label_count']} labels; photos: {dataset['photos']}")
    return dataset


def trained(site: Site, run: Mapping[str, Any]) -> Any:
    """Wait until a run has ended, and tell each epoch; the run. Raises SystemExit where no version came of it."""
    known, told = 0, ""  # epochs, and the last line
    while True:
        for epoch in run["epochs"]:
            known = epoch["number"]
            print(f"epoch {known}: validation loss {epoch['validation_loss']}, top-1 {epoch['validation_top1']}")
        if not run["active"]:
            break
        if (line := standing(run)) != told:
            print(told := line)
        time.sleep(WAIT_SECONDS)
        run = site.get(f"{run['url']}?after={known}")
    if run["status"] != "finished":
        raise SystemExit(f"run {run['id']} is {run['status']}: {run['failure']}")
    print(f"run {run['id']} made {run['version']}; right on test photos: {run['measured']}")
    return run


def standing(run: Mapping[str, Any]) -> str:
    """Where a run stands: its place in the queue, or its step and how long it still takes."""
    live, done = run["live"], run["progress"]
    doing = live.get("phase", "").rstrip(",") or (
        f"epoch {live['epoch']} of {live['epochs']}" if "epoch" in live else ""
    )
    parts = [run["waiting"], doing, f"{done['done']} of {done['total']}" if doing else ""]
    if run["eta_seconds"] is not None:
        parts.append(f"{run['eta_seconds']:.0f} s left")
    return ": ".join(filter(None, [f"run {run['id']} is {run['status']}", ", ".join(filter(None, parts))]))


def asked(site: Site, photo: Path, digest: str) -> Any:
    """What the version of that digest says of a photo: every process has it within five seconds."""
    kind = {".png": "image/png", ".webp": "image/webp"}.get(photo.suffix.lower(), "image/jpeg")
    for _ in range(30):
        answer = site.ask("POST", "/api/predictImage", photo.read_bytes(), kind)
        if answer["version"]["digest"] == digest:
            return answer
        time.sleep(WAIT_SECONDS)
    raise SystemExit("Another version answers: somebody activated it meanwhile.")


def change(text: str) -> tuple[str, Any]:
    """`epochs=5` -> ("epochs", 5); what is no number stays a text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", help="such as http://127.0.0.1:8000")
    parser.add_argument("zip", type=Path, help="photos, a folder for each label")
    parser.add_argument("photo", type=Path, help="one to ask the new version about")
    parser.add_argument("--name", default="photos", help="of the dataset and the version")
    parser.add_argument("--preset", default="transfer")
    parser.add_argument("--set", type=change, nargs="*", default=[], metavar="FIELD=VALUE", help="of the recipe")
    options = parser.parse_args()
    if not (key := os.environ.get("BREEDSITE_KEY", "")):
        raise SystemExit("Put a key with the scope admin into BREEDSITE_KEY.")
    site = Site(options.site, key)
    try:
        upload = {"upload": send(site, options.zip), "upload_name": options.zip.name}
        dataset = imported(site, site.make("/api/datasets", {"name": options.name, **upload}))
        wanted = {"dataset": dataset["dataset"], "preset": options.preset, "recipe": dict(options.set)}
        run = trained(site, site.make("/api/runs", wanted))
        version = site.ask("POST", f"/api/versions/{run['version_id']}/activate")
        print(f"{version['version']} answers from now on")
        print(asked(site, options.photo, version["digest"])["message"])
    except Refused as refusal:
        raise SystemExit(f"{refusal} ({refusal.problem['code']})") from refusal


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # each line at once, in a file too
    main()
