"""What the OpenAPI document says about runs."""

from typing import Any

from breedsite.paging import MOST, Listing, page_of
from classifier.api.documented import AGAIN, BODY, ONE, QUERY, asked, operation, sent, shown
from classifier.schema import IDEMPOTENCY_KEY
from trainer.api.run_json import CloneSerializer, NewRunSerializer, RunRowSerializer, RunSerializer

A_RUN = {
    "id": 7,
    "name": "dogs",
    "kind": "training",
    "status": "running",
    "active": True,
    "dataset": "dogs:2",
    "preset": "transfer",
    "changes": {"epochs": 5},
    "continue": None,
    "progress": {"done": 120, "total": 400},
    "version": None,
    "version_id": None,
    "failure": None,
    "device": "cpu",
    "created_at": "2026-03-02T08:00:00Z",
    "started_at": "2026-03-02T08:00:01Z",
    "finished_at": None,
    "url": "/api/runs/7",
}
AN_EPOCH = {
    "number": 1,
    "loss": 1.31,
    "accuracy": 0.71,
    "validation_loss": 0.92,
    "validation_top1": 0.83,
    "learning_rate": 0.0018,
    "skipped_steps": 0,
    "seconds": 6.2,
    "images_per_second": 412.0,
    "trail": [[1, 0.0002, 2.4], [80, 0.0018, 1.1]],
}
ALL_OF_IT = A_RUN | {
    "recipe": {"architecture": "mobilenet_v2", "trainable": "head", "epochs": 5},
    "fingerprint": "ab" * 32,
    "place": None,
    "waiting": None,
    "eta_seconds": 21.5,
    "live": {"epoch": 2, "number": 40, "steps": 80, "epochs": 5, "remaining_seconds": 21.5},
    "best": 1,
    "epochs": [AN_EPOCH],
    "found": {},
    "measured": None,
    "damage": None,
    "log": ["epoch 1: validation loss 0.9200, top-1 0.8300"],
    "may": ["stop", "clone"],
}
QUEUED = ALL_OF_IT | {"status": "queued", "place": 1, "eta_seconds": None, "live": {}, "best": None, "epochs": []}


def listed(listing: Listing) -> Any:
    return operation(
        "runs",
        "runs",
        "The trainings, and the range tests",
        answer=page_of("RunPage", RunRowSerializer),
        says="A page of them.",
        parameters=listing.parameters,
        codes=QUERY,
        examples=[shown({"results": [A_RUN], "next": "/api/runs?page_size=1&after=7"})],
    )


created = operation(
    "runs",
    "newRun",
    "Train a network on a dataset",
    "The recipe is that of the preset with the changes. A field that is wrong is refused by its name, before anything "
    "starts.",
    request={"application/json": NewRunSerializer},
    answer=RunSerializer,
    says="It waits for a worker; `Location` says where it is.",
    status=201,
    parameters=[IDEMPOTENCY_KEY],
    codes=[*BODY, *AGAIN],
    examples=[
        shown(QUEUED, status=201),
        sent("The quick preset, longer", {"dataset": "dogs", "preset": "transfer", "recipe": {"epochs": 30}}),
        sent("On from a version", {"dataset": "dogs:2", "preset": "starter", "continue": 7}),
    ],
)
read = operation(
    "runs",
    "run",
    "How far is it?",
    "Ask again with `after` the last epoch that you know.",
    answer=RunSerializer,
    says="The run.",
    parameters=[asked("after", {"type": "integer", "minimum": 0, "maximum": MOST, "default": 0}, "Epochs after this.")],
    codes=[*QUERY, *ONE],
    examples=[shown(ALL_OF_IT)],
)


def verb(name: str, summary: str, description: str) -> Any:
    return operation(
        "runs",
        name,
        summary,
        description,
        request=None,
        answer=RunSerializer,
        says="The run.",
        codes=[*ONE, "malformed_request", "file_too_large", "wrong_state"],
        examples=[shown(ALL_OF_IT)],
    )


stop = verb("stopRun", "Stop it", "The best epoch so far is kept as a version. It can be resumed.")
resume = verb("resumeRun", "Go on with a run that was stopped", "It goes on from its last checkpoint.")
clone = operation(
    "runs",
    "cloneRun",
    "The same run once more",
    "On the same dataset, with the same recipe and the changes.",
    request={"application/json": CloneSerializer},
    answer=RunSerializer,
    says="The new run; `Location` says where it is.",
    status=201,
    parameters=[IDEMPOTENCY_KEY],
    codes=[*ONE, *BODY, *AGAIN, "wrong_state"],
    examples=[shown(QUEUED, status=201), sent("With another seed", {"recipe": {"seed": 2}})],
)
epochs = operation(
    "runs",
    "runEpochs",
    "Its epochs as CSV",
    "A row an epoch, or a step of a range test.",
    answer={"type": "string"},
    media_type="text/csv",
    says="The rows.",
    codes=[*QUERY, *ONE],
)
