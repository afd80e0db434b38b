"""What people fill in to get a key."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from breedsite.models import ApiKey
from breedsite.models.key import Scope

MOST = 20  # keys of one account that let somebody in


class OwnKeyForm(forms.Form):
    """A key for whoever is signed in. It has the usual rate: nobody lets himself ask more often."""

    name = forms.CharField(max_length=64, help_text="The program or machine that will have it.")
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, initial=[Scope.PREDICT], label="What it may do"
    )
    days = forms.TypedChoiceField(
        choices=[("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until it is revoked")],
        coerce=int,
        empty_value=None,
        required=False,
        initial="90",
        label="For how long",
    )

    def __init__(self, data: Any = None, *, owner: User) -> None:
        super().__init__(data)
        self.owner = owner

    def clean(self) -> None:
        if ApiKey.objects.live().filter(owner=self.owner).count() >= MOST:
            raise ValidationError(f"You have {MOST} keys: revoke one that you no longer need.")

    def issue(self) -> tuple[ApiKey, str] | None:
        """The key and its secret; None where the form says what is wrong."""
        if not self.is_valid():
            return None
        days = self.cleaned_data["days"]
        try:
            return ApiKey.objects.issue(
                self.owner,
                name=self.cleaned_data["name"],
                scopes=self.cleaned_data["scopes"],
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
            )
        except ValidationError as error:
            self.add_error(None, error)
            return None
