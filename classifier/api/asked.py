"""What a request about batches says, read field by field: each value is checked, or refused by its name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request

from classifier.artifact import ArtifactError
from classifier.ensemble import Combine, NotTogether
from classifier.models import Batch, BatchItem, ModelVersion
from classifier.predictor import NoActiveVersion
from classifier.problems import Refused
from classifier.sources.offered import within

MOST = 2**63 - 1  # a database's largest number
LONGEST_NAME = 100  # characters, as the row has it
FIELDS = ("name", "versions", "combine", "open", "server")
TRUE, FALSE = frozenset({"true", "1", "on", "yes"}), frozenset({"", "false", "0", "off", "no"})


def malformed(sentence: str) -> Refused:
    return Refused("malformed_request", sentence)


def number(asked: Mapping[str, Any], name: str) -> int | None:
    """A whole number of the query, None where it is not named."""
    text = asked.get(name, "")
    if text == "":
        return None
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MOST):
        raise malformed(f"{name} is a whole number that is not negative.")
    return int(text)


def choice(asked: Mapping[str, Any], name: str, choices: Collection[str]) -> str:
    """One of some words, empty where none is named."""
    text = str(asked.get(name, ""))
    if text and text not in choices:
        raise malformed(f"{name} is one of {', '.join(choices)}.")
    return text


def truth(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in TRUE | FALSE:
        raise malformed(f"{name} is true or false.")
    return value.lower() in TRUE


@dataclass(frozen=True)
class Wanted:
    """A batch that somebody asks for, in a form or as JSON."""

    name: str
    versions: tuple[str, ...]
    combine: str
    open: bool
    source: Path | None
    files: list[UploadedFile] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """Raises Refused, ParseError and what else reading the body may raise."""
        data: Any = request.data
        if isinstance(data, MultiValueDict):
            given = {key: data.getlist(key) if key == "versions" else data.get(key, "") for key in FIELDS}
            if strange := set(request.FILES) - {"files"}:
                raise malformed(f"Files are sent in fields named files; {min(strange)!r} is none.")
        else:
            if strange := set(data) - set(FIELDS):
                raise malformed(f"{min(strange)!r} is not known here; a batch has {', '.join(FIELDS)}.")
            given = data
        name, versions = given.get("name", ""), given.get("versions", [])
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise malformed(f"name is a text of at most {LONGEST_NAME} characters.")
        if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
            raise malformed("versions is a list of NAME, NAME:NUMBER or digests.")
        if any("\0" in text for text in (name, *versions)):
            raise malformed("A name is text without NUL.")  # PostgreSQL takes none
        combine = given.get("combine") or Combine.MEAN.value
        if combine not in list(Combine):
            raise malformed(f"combine is one of {', '.join(Combine)}.")
        source = server_source(request, given.get("server", ""))
        files = request.FILES.getlist("files")
        if source and files:
            raise malformed("Send photos, or name a folder of the server, not both.")
        stays_open = truth(given.get("open", ""), "open") and not source
        chosen = tuple(dict.fromkeys(version for version in versions if version))
        return cls(name.strip(), chosen, str(combine), stays_open, source, files)

    def begin(self, user: Any) -> Batch:
        """Raises Refused, NoActiveVersion."""
        try:
            versions = [ModelVersion.objects.named(version) for version in self.versions]
            if not versions:
                active = ModelVersion.objects.active()
                if active is None:
                    raise NoActiveVersion
                versions = [active]
            return Batch.objects.begin(versions, name=self.name, combine=self.combine, source=self.source, by=user)
        except (ModelVersion.DoesNotExist, NotTogether) as error:
            raise malformed(str(error)) from error
        except ArtifactError as error:
            raise malformed(f"A version of these cannot be read: {error}.") from error


def server_source(request: Request, path: Any) -> Path | None:
    """The folder or zip of the server that is named; None where none is."""
    if not isinstance(path, str):
        raise malformed("server is the path of a folder or zip.")
    if not path:
        return None
    if not request.user.is_staff:
        raise Refused("forbidden", "Folders of the server are for staff: send the photos.")
    found = within(path, settings.DATASETS_SOURCE_DIRS)
    if found is None:
        raise malformed("There is no such folder or zip in the folders that DATASETS_SOURCE_DIRS names.")
    return found


@dataclass(frozen=True)
class Filters:
    """Which rows of a batch somebody wants to see; empty for all."""

    status: str = ""
    label: str = ""
    code: str = ""
    unsure: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Filters:
        """Raises Refused."""
        label, code = (str(asked.get(name, "")).replace("\0", "") for name in ("label", "code"))  # PostgreSQL's wish
        status, unsure = choice(asked, "status", BatchItem.Status.values), truth(asked.get("unsure", ""), "unsure")
        return cls(status, label, code, unsure)

    @property
    def chosen(self) -> dict[str, str]:
        return {name: "true" if value is True else value for name, value in vars(self).items() if value}

    def of_batch(self, batch: Batch) -> QuerySet[BatchItem]:
        fields: dict[str, Any] = {name: value for name, value in self.chosen.items() if name != "unsure"}
        return batch.items.filter(**fields, **({"sure": False} if self.unsure else {}))
