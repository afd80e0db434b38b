"""What a person says to import a dataset."""

from pathlib import Path
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.utils.datastructures import MultiValueDict

from classifier.sources.listing import SourceError
from classifier.sources.offered import offered
from classifier.uploads import Upload, UploadError
from trainer.ingest import download, table
from trainer.models.dataset import NAME, Dataset
from trainer.models.importing import FRACTIONS, SEED
from trainer.models.sharing import finish
from trainer.presets import CATALOGUE

MAX_TABLE_BYTES = 1024**2


def server_sources() -> list[tuple[str, str]]:
    """The folders and zips in the folders that DATASETS_SOURCE_DIRS names: path and what it is called."""
    return offered(settings.DATASETS_SOURCE_DIRS)


def upload_of(user: Any, key: UUID) -> Upload:
    """The zip that this person sends under this number."""
    assert user.pk is not None
    return Upload(Path(settings.UPLOADS_DIR), int(user.pk), key)


def divisions() -> list[tuple[str, str]]:
    """The presets whose systems divide otherwise than everybody: name and shares."""
    return [
        (name, f"as {name}: {' / '.join(f'{100 * share:.3g}' for share in preset.fractions)} %")
        for name, preset in CATALOGUE.items()
        if preset.fractions != FRACTIONS
    ]


class ImportForm(forms.Form):
    """A zip that was sent in pieces before (`upload`), a folder or zip on the server, or a set to be downloaded."""

    name = forms.CharField(
        max_length=64,
        validators=[NAME],
        help_text="Small letters, digits and hyphens. A name used before gets its next version.",
    )
    upload = forms.UUIDField(widget=forms.HiddenInput)
    upload_name = forms.CharField(max_length=255, required=False, widget=forms.HiddenInput)
    server = forms.ChoiceField(required=False, label="Or a folder or zip on the server")
    builtin = forms.ChoiceField(
        required=False,
        label="Or a set that everybody knows",
        choices=[("", "—"), *((name, f"{known.title}: {known.content}") for name, known in download.SETS.items())],
        help_text="It is downloaded from where its authors publish it, and checked by the MD5 that they state.",
    )
    division = forms.ChoiceField(
        required=False,
        label="Divide",
        help_text="As the system does that a recipe is named after, or by the shares below.",
    )
    train = forms.FloatField(initial=FRACTIONS[0], min_value=0.01, max_value=0.98, label="Share that trains")
    validation = forms.FloatField(
        initial=FRACTIONS[1], min_value=0.01, max_value=0.98, label="Share that chooses the best epoch"
    )
    test = forms.FloatField(
        initial=FRACTIONS[2], min_value=0.01, max_value=0.98, label="Share kept sealed for the test"
    )
    seed = forms.IntegerField(
        initial=SEED, min_value=0, max_value=2**31 - 1, help_text="Another seed divides otherwise."
    )
    rename = forms.FileField(
        required=False,
        label="Other names for labels",
        help_text="A CSV file of two columns: the name of a folder, and the label it becomes.",
    )

    def __init__(self, data: Any = None, files: MultiValueDict | None = None, **options: Any) -> None:
        super().__init__(data, files, **options)
        server = self.fields["server"]
        assert isinstance(server, forms.ChoiceField)
        server.choices = [("", "—"), *server_sources()]
        division = self.fields["division"]
        assert isinstance(division, forms.ChoiceField)
        division.choices = [("", "by the shares below"), *divisions()]
        if not settings.DATASETS_SOURCE_DIRS:
            server.help_text = "None yet: DATASETS_SOURCE_DIRS names the folders that may be imported from."

    def clean_rename(self) -> dict[str, str]:
        file = self.cleaned_data.get("rename")
        if not file:
            return {}
        if file.size > MAX_TABLE_BYTES:
            raise forms.ValidationError("This table has more than 1 MB.")
        try:
            return table.renaming(file.read())
        except SourceError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        shares = [cleaned.get(part) for part in ("train", "validation", "test")]
        if (
            not cleaned.get("division")
            and None not in shares
            and abs(sum(float(share or 0) for share in shares) - 1) > 1e-9
        ):
            self.add_error("train", "The three shares must sum to 1.")
        sources = [name for name in ("upload_name", "server", "builtin") if cleaned.get(name)]
        if not sources and not self.errors.keys() & {"server", "builtin"}:
            self.add_error(None, "Choose a zip to send, a folder or zip on the server, or a set that everybody knows.")
        if len(sources) > 1:
            self.add_error(None, "Choose one place alone where the photos are.")
        return cleaned

    @property
    def options(self) -> dict[str, Any]:
        """As `Dataset.options` keeps them."""
        cleaned = self.cleaned_data
        fractions = [cleaned[part] for part in ("train", "validation", "test")]
        if cleaned["division"]:
            fractions = list(CATALOGUE[cleaned["division"]].fractions)
        return {"seed": cleaned["seed"], "fractions": fractions, "rename": cleaned["rename"]}

    def enqueue(self, by: Any) -> Dataset:
        """The dataset that a valid form asks for, waiting for a worker. Raises UploadError where the zip did not
        arrive, or was taken before."""
        if place := self.server_path:
            kind, name = self.kind_of(place), place.name
        else:
            upload = upload_of(by, self.cleaned_data["upload"])
            if Dataset.objects.filter(source_path__endswith=f"/{upload.whole.name}").exists():
                raise UploadError("missing_image", "This zip became a dataset already: choose it again.")
            place = finish(upload)
            kind, name = Dataset.SourceKind.UPLOAD, self.cleaned_data["upload_name"]
        return Dataset.objects.enqueue(
            self.cleaned_data["name"],
            place,
            source_kind=kind,
            source_name=name,
            options=self.options,
            created_by=by,
        )

    def kind_of(self, place: Path) -> str:
        return Dataset.SourceKind.BUILTIN if self.cleaned_data["builtin"] else Dataset.SourceKind.of(place)

    @property
    def server_path(self) -> Path | None:
        if known := self.cleaned_data["builtin"]:
            return Path(settings.SETS_DIR) / known
        chosen = self.cleaned_data["server"]
        return Path(chosen) if chosen else None
