from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from breedsite import health, metrics, views

urlpatterns = [
    path("", include("classifier.urls")),  # first: predictions are what is asked for most
    path("", include("trainer.urls")),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("login/", LoginView.as_view(next_page="index"), name="login"),
    path("logout/", LogoutView.as_view(next_page="index"), name="logout"),
    path("keys/", views.keys, name="keys"),
    path("keys/<slug:prefix>/revoke/", views.revoke_key, name="revoke_key"),
    path("admin/", admin.site.urls),
]

handler400 = "breedsite.errors.bad_request"
handler403 = "breedsite.errors.permission_denied"
handler404 = "breedsite.errors.page_not_found"
handler500 = "breedsite.errors.server_error"
