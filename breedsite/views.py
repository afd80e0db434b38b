"""The page where people with an account make and revoke their own keys; the admin has everybody's."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from breedsite.forms import OwnKeyForm
from breedsite.models import ApiKey


@never_cache  # it may show a secret
@login_required(login_url="login")
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """One's keys and a form for another. The answer to the form is the only page that ever shows the secret."""
    assert request.user.is_authenticated
    posted = request.POST if request.method == "POST" else None
    form = OwnKeyForm(posted, owner=request.user)
    issued = None if posted is None else form.issue()
    context = {
        "form": OwnKeyForm(owner=request.user) if issued else form,
        "issued": issued,
        "example": request.build_absolute_uri("/api/predictImage"),
        "keys": ApiKey.objects.filter(owner=request.user),
    }
    return render(request, "keys.html", context, status=400 if form.errors else 200)


@login_required(login_url="login")
@require_POST
def revoke_key(request: HttpRequest, prefix: str) -> HttpResponse:
    """Ends one's own key; another's is not there."""
    assert request.user.is_authenticated
    get_object_or_404(ApiKey, owner=request.user, prefix=prefix).revoke()
    return redirect("keys")
