"""What the OpenAPI document says about datasets."""

from typing import Any

from breedsite.paging import MOST, Listing, page_of
from classifier.api.documented import AGAIN, BODY, ONE, QUERY, asked, operation, sent, shown
from classifier.schema import IDEMPOTENCY_KEY
from classifier.uploads import MAX_BYTES, PIECE_BYTES
from trainer.api.dataset_json import (
    DatasetRowSerializer,
    DatasetSerializer,
    NewDatasetSerializer,
    PhotoSerializer,
    ReportSerializer,
    UploadSerializer,
)

AN_UPLOAD = "8ad0ee2c-5a6d-4c05-b7a4-6d39a51a2b31"
A_DATASET = {
    "id": 4,
    "dataset": "dogs:2",
    "name": "dogs",
    "number": 2,
    "status": "ready",
    "active": False,
    "progress": {"done": 9550, "total": 9550},
    "label_count": 2,
    "photos": {"train": 7640, "validation": 955, "test": 955},
    "origin": {"kind": "upload", "name": "dogs.zip"},
    "parent": None,
    "failure": None,
    "created_at": "2026-03-02T08:00:00Z",
    "started_at": "2026-03-02T08:00:01Z",
    "finished_at": "2026-03-02T08:01:00Z",
    "url": "/api/datasets/4",
}
ALL_OF_IT = A_DATASET | {
    "labels": ["beagle", "border_collie"],
    "options": {"fractions": [0.8, 0.1, 0.1], "seed": 1, "rename": {}},
    "fingerprint": "ab" * 32,
    "place": None,
    "waiting": None,
    "downloaded_bytes": 0,
    "is_missing": False,
    "used": False,
    "report": "/api/datasets/4/report",
    "photos_url": "/api/datasets/4/photos",
}
QUEUED = ALL_OF_IT | {"status": "queued", "active": True, "place": 1, "labels": [], "label_count": 0, "fingerprint": ""}
A_REPORT = {
    "dataset": "dogs:2",
    "status": "ready",
    "failure": "",
    "source_kind": "upload",
    "source_name": "dogs.zip",
    "options": {"fractions": [0.8, 0.1, 0.1], "seed": 1, "rename": {}},
    "fingerprint": "ab" * 32,
    "labels": ["beagle", "border_collie"],
    "counts": {"train": 7640, "validation": 955, "test": 955},
    "report": {"notes": [], "warnings": [], "unreadable": {"count": 0, "listed": []}},
}
A_PHOTO = {
    "id": 812,
    "name": "beagle/7.jpg",
    "label": "beagle",
    "part": "train",
    "flag": "near",
    "excluded": False,
    "example": False,
    "width": 640,
    "height": 480,
    "bytes": 81234,
    "sha256": "cd" * 32,
}
SOME_BYTES = {"type": "integer", "minimum": 0, "maximum": MOST}


def listed(listing: Listing) -> Any:
    return operation(
        "datasets",
        "datasets",
        "The datasets",
        answer=page_of("DatasetPage", DatasetRowSerializer),
        says="A page of them.",
        parameters=listing.parameters,
        codes=QUERY,
        examples=[shown({"results": [A_DATASET], "next": None})],
    )


created = operation(
    "datasets",
    "newDataset",
    "Import photos",
    f"From one place: the pieces of a zip that were sent before (`upload`, at most {MAX_BYTES // 1024**3} GB), a "
    "folder or zip on the server (`server`), or a set that everybody knows (`builtin`).",
    request={"application/json": NewDatasetSerializer},
    answer=DatasetSerializer,
    says="It waits for a worker; `Location` says where it is.",
    status=201,
    parameters=[IDEMPOTENCY_KEY],
    codes=[*BODY, *AGAIN, "storage_unavailable"],
    examples=[
        shown(QUEUED, status=201),
        sent("A zip that was sent", {"name": "dogs", "upload": AN_UPLOAD, "upload_name": "dogs.zip"}),
        sent("A known set, divided as a preset says", {"name": "cifar10", "builtin": "cifar10"}),
    ],
)
read = operation(
    "datasets",
    "dataset",
    "What is in it, or how far is its import?",
    answer=DatasetSerializer,
    says="The dataset.",
    codes=[*QUERY, *ONE],
    examples=[shown(ALL_OF_IT)],
)
deleted = operation(
    "datasets",
    "deleteDataset",
    "Delete it with its photos",
    "One on which a run was started, or of which a later version was made, stays: 409.",
    request=None,
    status=204,
    says="It is gone.",
    codes=[*ONE, "malformed_request", "file_too_large", "wrong_state"],
)
report = operation(
    "datasets",
    "datasetReport",
    "What its import found",
    answer=ReportSerializer,
    says="The report.",
    codes=[*QUERY, *ONE],
    examples=[shown(A_REPORT)],
)


def photos(listing: Listing) -> Any:
    return operation(
        "datasets",
        "datasetPhotos",
        "Its photos",
        answer=page_of("PhotoPage", PhotoSerializer),
        says="A page of them.",
        parameters=listing.parameters,
        codes=[*QUERY, *ONE],
        examples=[shown({"results": [A_PHOTO], "next": None})],
    )


stop = operation(
    "datasets",
    "stopDataset",
    "Stop its import",
    "Nothing of it is kept.",
    request=None,
    answer=DatasetSerializer,
    says="It stops, or has stopped.",
    codes=[*ONE, "malformed_request", "file_too_large", "wrong_state"],
    examples=[shown(QUEUED | {"status": "cancelled", "active": False, "place": None})],
)
arrived = operation(
    "datasets",
    "datasetUpload",
    "How much of a zip has arrived",
    answer=UploadSerializer,
    says="So much.",
    codes=[*QUERY, *ONE, "storage_unavailable"],
    examples=[shown({"received": 2 * PIECE_BYTES, "piece_bytes": PIECE_BYTES, "max_bytes": MAX_BYTES})],
)
piece = operation(
    "datasets",
    "sendPiece",
    "The next piece of a zip",
    "Under a new UUID for each zip. The body is the piece, as it is. Where the answer was lost, ask how much has "
    "arrived; a piece that does not begin there is refused with 409 and `received`.",
    request={"application/octet-stream": {"type": "string", "format": "binary"}},
    answer=UploadSerializer,
    says="It is here.",
    parameters=[
        asked("offset", SOME_BYTES, "Where the piece begins.", required=True),
        asked("total", SOME_BYTES, "Size of the whole zip.", required=True),
    ],
    codes=[*QUERY, *ONE, "wrong_offset", "file_too_large", "unsupported_format", "storage_full", "storage_unavailable"],
    examples=[shown({"received": PIECE_BYTES, "piece_bytes": PIECE_BYTES, "max_bytes": MAX_BYTES})],
)
