"""Keys for programs in the admin: made, their secret shown this once, looked at, revoked. Never changed."""

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminDateWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import ForeignKey, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from breedsite.models import ApiKey
from breedsite.models.key import Scope

REVOKE = "breedsite.revoke_apikey"
SHOWN = ["owner", "name", "prefix", "may", "state", "created_at", "expires_at", "last_used_at", "rate", "revoked_at"]


class KeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)
    expires_at = forms.DateField(
        label="Expires",
        required=False,
        widget=AdminDateWidget,
        help_text="At the end of this day (UTC). Empty for never.",
    )

    class Meta:
        model = ApiKey
        fields = ["owner", "name", "scopes", "expires_at", "rate"]

    def clean_expires_at(self) -> datetime | None:
        day = self.cleaned_data["expires_at"]
        if day is not None and day < timezone.now().date():
            raise ValidationError("This day is over.")
        return day and datetime.combine(day, time.max, tzinfo=UTC)

    def _post_clean(self) -> None:
        """Django leaves out what a constraint says of fields that the form has not, such as `revoked_at`."""
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            try:
                self.instance.validate_constraints()
            except ValidationError as error:
                self.add_error(None, error)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """A superuser sees and makes everybody's keys, others their own: a key for somebody else would lend his rights."""

    list_display = ["name", "owner", "prefix", "may", "state", "expires_at", "last_used_at"]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "owner__username"]
    form = KeyForm
    change_form_template = "admin/breedsite/apikey/change_form.html"

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        return key.state

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        keys = super().get_queryset(request)
        return keys if request.user.is_superuser else keys.filter(owner=request.user.pk)

    def formfield_for_foreignkey(
        self, db_field: ForeignKey, request: HttpRequest, **options: Any
    ) -> forms.ModelChoiceField | None:
        if db_field.name == "owner":
            users = get_user_model().objects.filter(is_active=True).order_by("username")
            options["queryset"] = (
                users if request.user.is_superuser else users.filter(username=request.user.get_username())
            )
            options["initial"] = request.user.pk
        return super().formfield_for_foreignkey(db_field, request, **options)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        if obj is not None:
            return SHOWN
        fields = list(KeyForm.Meta.fields)
        if not request.user.is_superuser:
            fields.remove("rate")  # nobody lets himself ask more often
        return fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return [] if obj is None else SHOWN

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(REVOKE)

    def get_urls(self) -> list[URLPattern]:
        revoke = path(
            "<path:object_id>/revoke/",
            self.admin_site.admin_view(self.revoke_view),
            name="breedsite_apikey_revoke",
        )
        return [revoke, *super().get_urls()]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ApiKey | None = None,
    ) -> HttpResponse:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        context["may_revoke"] = obj is not None and obj.revoked_at is None and request.user.has_perm(REVOKE)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.Form, change: bool) -> None:
        assert not change
        obj.secret = obj.issue()  # type: ignore[attr-defined] # kept by this request alone

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The answer itself shows the secret: a message would be stored, a redirect would carry it in its address."""
        context = self.admin_site.each_context(request) | {
            "title": f"The key {obj.name}",
            "opts": self.opts,
            "key": obj,
            "secret": obj.secret,  # type: ignore[attr-defined]
            "example": request.build_absolute_uri(reverse("predict")),
        }
        return TemplateResponse(request, "admin/breedsite/apikey/issued.html", context)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET asks once, POST does it."""
        if not request.user.has_perm(REVOKE):
            raise PermissionDenied
        key = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        if request.method == "POST":
            key.revoke()
            self.log_change(request, key, "Revoked.")
            self.message_user(request, f"The key {key} is revoked: within five seconds it lets nobody in.")
            return HttpResponseRedirect(reverse("admin:breedsite_apikey_changelist"))
        context = self.admin_site.each_context(request) | {
            "title": f"Revoke {key}?",
            "opts": self.opts,
            "key": key,
        }
        return TemplateResponse(request, "admin/breedsite/apikey/revoke.html", context)
