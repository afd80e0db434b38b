"""The form of a new run: a dataset, a name, and every field of a recipe with its unit, bounds and help."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4, uuid5

from django import forms
from django.forms import BoundField

from trainer.models import Dataset, TrainingRun
from trainer.models.run import NAME
from trainer.presets import PRESETS
from trainer.rates import reference
from trainer.recipe import Field, Recipe, RecipeError, fields

GROUPS = {"architecture": "The network", "photo_size": "The pictures", "epochs": "The steps"}  # first field -> title


FIND = "find"  # the button that looks for a learning rate instead of training


def form_field(field: Field) -> forms.Field:
    """How a person fills in one field of a recipe."""
    options: dict[str, Any] = {"help_text": describe(field), "label": field.name.replace("_", " ")}
    if field.choices:
        return forms.ChoiceField(choices=[(choice, choice) for choice in field.choices], **options)
    if field.kind is str:
        return forms.CharField(max_length=200, **options)
    if field.kind is int:
        return forms.IntegerField(min_value=int(field.low), max_value=int(field.high), **options)
    widget = forms.NumberInput(attrs={"step": "any"})
    return forms.FloatField(min_value=field.low, max_value=field.high, widget=widget, **options)


def describe(field: Field) -> str:
    """The field's help, with its bounds and unit where it is a number."""
    if field.kind is str:
        return field.help
    return f"{field.help} {field.low:g} to {field.high:g} {field.unit}".rstrip() + "."


class RunForm(forms.Form):
    """Made with `initial` from a preset or a run; `recipe` is there after it is valid."""

    dataset = forms.ModelChoiceField(Dataset.objects.none(), help_text="Those that are imported and ready.")
    name = forms.CharField(
        max_length=64, validators=[NAME], required=False, help_text="Of the version that comes of it: the dataset's."
    )
    key = forms.UUIDField(widget=forms.HiddenInput, required=False, initial=uuid4)  # pressed twice, it starts one run
    parent = forms.ModelChoiceField(TrainingRun.objects.none(), widget=forms.HiddenInput, required=False, initial="")
    preset = forms.ChoiceField(choices=[(name, name) for name in PRESETS], widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        datasets: forms.ModelChoiceField = self.fields["dataset"]  # type: ignore[assignment]
        datasets.queryset = Dataset.objects.ready()
        parents: forms.ModelChoiceField = self.fields["parent"]  # type: ignore[assignment]
        parents.queryset = TrainingRun.objects.filter(status__in=TrainingRun.TERMINAL, version__isnull=False)
        for field in fields():
            self.fields[field.name] = form_field(field)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        self.kind = TrainingRun.Kind.RANGE_TEST if FIND in self.data else TrainingRun.Kind.TRAINING
        names = [field.name for field in fields()]
        if all(name in values for name in names):
            try:
                self.recipe = Recipe.from_dict({name: values[name] for name in names})
                if self.kind == TrainingRun.Kind.RANGE_TEST:
                    reference(self.recipe)
            except RecipeError as error:
                self.add_error(error.field if error.field in self.fields else None, str(error))
            else:
                self.fits(values.get("parent"), values.get("dataset"))
        return values

    def fits(self, parent: TrainingRun | None, dataset: Dataset | None) -> None:
        """Weights can be taken over only by the same network with the same labels."""
        if parent is None or dataset is None:
            return
        if why := parent.unfit_for(dataset, self.recipe):
            self.add_error(None, why)

    @property
    def own_key(self) -> UUID | None:
        """One for each of the two buttons, so that who has looked for a rate can go back and train."""
        key: UUID | None = self.cleaned_data["key"]
        return uuid5(key, FIND) if key and self.kind == TrainingRun.Kind.RANGE_TEST else key

    def start(self, by: Any) -> TrainingRun:
        """The run that a valid form asks for, in the queue."""
        dataset: Dataset = self.cleaned_data["dataset"]
        return TrainingRun.objects.start(
            dataset,
            self.recipe,
            name=self.cleaned_data["name"] or dataset.name,
            preset=self.cleaned_data["preset"],
            key=self.own_key,
            kind=self.kind,
            parent=self.cleaned_data["parent"],
            created_by=by,
        )

    def groups(self) -> Iterator[tuple[str, list[BoundField]]]:
        """The recipe's fields under their titles."""
        group: list[BoundField] = []
        title = ""
        for field in fields():
            if field.name in GROUPS and group:
                yield title, group
                group = []
            title = GROUPS.get(field.name, title)
            group.append(self[field.name])
        yield title, group


def filled_in(run: TrainingRun) -> dict[str, Any]:
    """The form of a run like this one, which starts where that did. Of a run that failed it goes on from the best
    epoch, if one was kept, and at a tenth of the learning rate."""
    values = run.fields | run.suggestion | {"dataset": run.dataset_id, "name": run.name}
    if run.status == run.Status.FAILED:
        rates = {name: values.get(name) for name in ("learning_rate", "head_learning_rate")}
        values |= {name: rate / 10 for name, rate in rates.items() if isinstance(rate, int | float)}
    start = run if run.status == run.Status.FAILED and run.may_continue else run.parent
    return values | {"parent": start.pk if start and start.may_continue else ""}
