"""What the OpenAPI document says about versions."""

from typing import Any

from breedsite.paging import Listing, page_of
from classifier.api.documented import ONE, QUERY, operation, shown
from classifier.api.version_json import VersionCardSerializer, VersionRowSerializer
from classifier.schema import A_DIGEST

A_RATE = {"value": 0.869, "correct": 830, "low": 0.846, "high": 0.889}
A_VERSION = {
    "id": 3,
    "version": "dogs120:1",
    "name": "dogs120",
    "number": 1,
    "digest": A_DIGEST,
    "is_active": True,
    "label_count": 120,
    "quality": {"split": "test", "n": 955, "top1": A_RATE, "top5": A_RATE},
    "failure": None,
    "created_at": "2026-03-02T08:00:00Z",
    "activated_at": "2026-03-02T08:05:00Z",
    "url": "/api/versions/3",
}
A_CARD = A_VERSION | {
    "quality": {"split": "test", "n": 955, "top1": A_RATE, "top5": A_RATE, "loss": 0.46, "per_label": []},
    "spec": {"format": 1, "name": "dogs120", "architecture": {"name": "mobilenet_v2", "head": {"kind": "linear"}}},
    "lineage": {"data": "955 photos of dogs", "license": "unknown", "seed": 1, "created": "2026-03-02T07:59:00+00:00"},
    "export": "/api/versions/3/export",
}


def listed(listing: Listing) -> Any:
    return operation(
        "versions",
        "versions",
        "The versions of all models",
        answer=page_of("VersionPage", VersionRowSerializer),
        says="A page of them.",
        parameters=listing.parameters,
        codes=QUERY,
        examples=[shown({"results": [A_VERSION], "next": None})],
    )


read = operation(
    "versions",
    "version",
    "What is known of a version: its card",
    answer=VersionCardSerializer,
    says="The card.",
    codes=[*QUERY, *ONE],
    examples=[shown(A_CARD)],
)
activate = operation(
    "versions",
    "activateVersion",
    "Let this version answer",
    "It is verified first, down to its answers to golden pictures; where it is not sound the other one stays. Every "
    "process answers with it within five seconds, without a failed request.",
    request=None,
    answer=VersionCardSerializer,
    says="It is active.",
    codes=[*ONE, "malformed_request", "wrong_state", "file_too_large", "storage_unavailable"],
    examples=[shown(A_CARD)],
)
export = operation(
    "versions",
    "exportVersion",
    "Its files as a zip",
    "spec.json, model.onnx and weights.safetensors: nothing that is unpickled.",
    answer={"type": "string", "format": "binary"},
    media_type="application/zip",
    says="The zip.",
    codes=[*QUERY, *ONE, "wrong_state", "storage_unavailable"],
)
