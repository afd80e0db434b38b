"""The page of a network's layers: what it is made of for a dataset's labels, and how much of it learns."""

from typing import Any

from django import forms

from classifier.architectures import KNOWN
from trainer.admin.recipe_form import form_field
from trainer.layers import LABELS, LayersError, layer_table
from trainer.models import Dataset
from trainer.recipe import Recipe, RecipeError, fields
from trainer.weights import find, missing

FIELDS = ("architecture", "head", "image_size", "trainable", "last_blocks")  # of a recipe


class NetworkForm(forms.Form):
    """Filled in by an address, so that a table can be linked to; `table` is there after it is valid."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.none(), required=False, empty_label="—", help_text="So many labels as it has."
    )
    labels = forms.IntegerField(
        required=False,
        min_value=LABELS.start,
        max_value=LABELS.stop - 1,
        label="or labels",
        help_text="How many, where no dataset is chosen: 10 unless you say.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        datasets = self.fields["dataset"]
        assert isinstance(datasets, forms.ModelChoiceField)
        datasets.queryset = Dataset.objects.ready()
        for field in fields():
            if field.name in FIELDS:
                self.fields[field.name] = form_field(field)
        self.fields["architecture"].widget.attrs["list"] = "architectures"

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.errors:
            return values
        dataset = values["dataset"]
        labels = len(dataset.labels) if dataset else values["labels"] or 10
        try:
            recipe = Recipe(**{name: values[name] for name in FIELDS})
            self.table = layer_table(recipe, labels)
        except RecipeError as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        except LayersError as error:
            self.add_error(None, str(error))
        return values


def context(asked: dict[str, Any], weights_dir: Any) -> dict[str, Any]:
    """What the page shows for what is asked; fields that are not are those of a recipe's defaults."""
    defaults = Recipe().as_dict()
    values = {name: str(defaults[name]) for name in FIELDS} | {name: one for name, one in asked.items() if one}
    form = NetworkForm(values)
    valid = form.is_valid()
    return {
        "form": form,
        "architectures": sorted(KNOWN),
        "table": form.table if valid else None,
        "weights": weights(form.table, weights_dir) if valid else "",
    }


def weights(table: dict[str, Any], folder: Any) -> str:
    """Where its published weights are, or what to do."""
    name, file = table["architecture"]["name"], table["weights_file"]
    if file is None:
        return "Nobody has published weights of it: it starts from random ones."
    if folder is None:
        return f"Published weights: {file}, which is downloaded, or put into the folder that WEIGHTS_DIR names."
    return f"Published weights: {file} is here." if find(folder, name, file) else missing(name, file, folder)
