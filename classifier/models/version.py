"""Which models this installation has, and which one answers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Max, Q
from django.utils import timezone

from breedsite.storage import store
from classifier import artifact, crash
from classifier.artifact import AlreadyThere, ArtifactError
from classifier.models.keeping import bring_version, share_version
from classifier.spec import Spec


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def active(self) -> ModelVersion | None:
        """The version that answers now."""
        return self.filter(is_active=True).first()

    def named(self, name: str) -> ModelVersion:
        """The version that a person means by NAME (the newest), NAME:NUMBER or the beginning of a digest.

        Raises DoesNotExist with a sentence.
        """
        label, _, number = name.partition(":")
        of_name = self.filter(name=label)
        if number:
            found = of_name.filter(number=int(number)) if number.isdecimal() and len(number) < 10 else self.none()
        elif of_name.exists():
            found = of_name.order_by("-number")[:1]
        else:
            found = self.filter(digest__startswith=name) if len(name) >= 8 else self.none()
        version = found.first() if len(found) == 1 else None
        if version is None:
            known = ", ".join(map(str, self.order_by("name", "number"))) or "none"
            raise self.model.DoesNotExist(f"There is no version {name!r}. Installed: {known}.")
        return version

    def install(self, source: Path) -> ModelVersion:
        """Verifies the model in the folder `source`, copies it into VERSIONS_DIR and gives it the next number.

        The same model twice is one version. Raises ArtifactError, or OSError when there is no space for it, and
        StorageAway.
        """
        digest = artifact.digest(source)
        folder = f"{artifact.read(source).name}-{digest[:16]}"
        place = Path(settings.VERSIONS_DIR) / folder
        with suppress(AlreadyThere):  # installed before, by another process now, or by one killed before its row
            artifact.copy(source, place)
        spec = artifact.verify(place)
        if artifact.digest(place) != digest:
            raise ArtifactError(f"spec.json in {folder} is not the one that was to be installed")
        share_version(place, spec, digest)
        crash.here("before_version_row")
        version = self.register(spec, digest=digest, folder=folder)
        crash.here("after_version_row")
        return version

    def register(self, spec: Spec, *, digest: str, folder: str) -> ModelVersion:
        """The row of an installed folder. Of several at once that choose a number one wins, the others choose again."""
        for _ in range(100):  # each failure is the success of another
            version = self.filter(digest=digest).first()
            if version is not None:
                return version
            last = self.filter(name=spec.name).aggregate(last=Max("number"))["last"] or 0
            row = {"name": spec.name, "number": last + 1, "digest": digest, "folder": folder, "spec": spec.as_dict()}
            with suppress(IntegrityError), transaction.atomic():
                return self.create(**row)
        raise ArtifactError(f"{spec.name} got no number: too many versions of it are being installed")


class ModelVersion(models.Model):
    """A model on disk that was verified when it came in. At most one is active."""

    name = models.CharField(max_length=64)
    number = models.PositiveIntegerField()
    digest = models.CharField("digest", max_length=64, unique=True, help_text="sha256 of spec.json")
    folder = models.CharField(max_length=100, unique=True, help_text="inside VERSIONS_DIR")
    spec = models.JSONField(help_text="what spec.json says")
    is_active = models.BooleanField("active", default=False)
    failure = models.TextField(blank=True, help_text="why it could not be activated or loaded")
    created_at = models.DateTimeField("installed", auto_now_add=True)
    activated_at = models.DateTimeField("last activated", null=True, blank=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["name", "number"], name="one_version_a_number"),
            models.UniqueConstraint(fields=["is_active"], condition=Q(is_active=True), name="one_active_version"),
        ]
        permissions = [("activate_modelversion", "Can activate a version")]
        verbose_name = "version"

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"

    @property
    def path(self) -> Path:
        return Path(settings.VERSIONS_DIR) / self.folder

    @property
    def card(self) -> Spec:
        """The spec as the row keeps it, with names for its fields."""
        return Spec.from_dict(self.spec)

    def activate(self) -> None:
        """Verifies the folder once more, then makes this the version that answers, in one step.

        Raises ArtifactError with the reason, which is kept in `failure`, or StorageAway; the other version then stays
        active.
        """
        try:
            self.bring()
            self.verify()
        except ArtifactError as error:
            self.failed(str(error))
            raise
        changes: dict[str, Any] = {"is_active": True, "activated_at": timezone.now(), "failure": ""}
        versions = ModelVersion.objects
        with transaction.atomic():
            # Two administrators at once queue here (on SQLite, where this locks nothing, at the transaction's start).
            list(versions.select_for_update().order_by("pk").values_list("pk"))
            versions.filter(is_active=True).exclude(pk=self.pk).update(is_active=False)
            versions.filter(pk=self.pk).update(**changes)
        for field, value in changes.items():
            setattr(self, field, value)

    def bring(self) -> None:
        """Let its folder be here, where hosts share a storage. Raises ArtifactError, StorageAway."""
        bring_version(self.path, self.digest)

    @property
    def is_missing(self) -> bool:
        """Whether somebody took its folder away; of a storage that hosts share nobody is asked."""
        return not store().on and not self.path.is_dir()

    def verify(self) -> Spec:
        """Raises ArtifactError when the folder is not the one that was installed, or no longer sound."""
        if artifact.digest(self.path) != self.digest:
            raise ArtifactError(f"spec.json in {self.folder} is not the one that was installed")
        return artifact.verify(self.path)

    def failed(self, sentence: str) -> None:
        self.failure = sentence
        ModelVersion.objects.filter(pk=self.pk).update(failure=sentence)
