from django.urls import path

from classifier import api, views
from classifier.api import batches, versions
from classifier.views import batch
from classifier.views import batches as pages

urlpatterns = [
    path("", views.index, name="index"),
    path("examples/<slug:id>.jpg", views.example, name="example"),
    path("batches/", pages.batches, name="batch_pages"),
    path("batches/<int:pk>/", batch.batch, name="batch_page"),
    path("batches/<int:pk>/do/<slug:verb>/", batch.perform, name="batch_do"),
    path("batches/<int:pk>/<int:position>/", batch.one_photo, name="batch_photo"),
    path("batches/<int:pk>/<int:position>/<slug:size>.jpg", batch.picture, name="batch_picture"),
    path("api/predictImage", api.PredictImage.as_view(), name="predict"),
    path("api/predictImage/", api.PredictImage.as_view()),
    path("api/schema", api.Schema.as_view(), name="schema"),
    path("api/schema/", api.Schema.as_view()),
    path("api/docs", api.Docs.as_view(), name="docs"),
    path("api/docs/", api.Docs.as_view()),
    path("api/model", api.Model.as_view(), name="model"),
    path("api/model/", api.Model.as_view()),
    path("api/versions", versions.Versions.as_view(), name="versions"),
    path("api/versions/<int:pk>", versions.OneVersion.as_view(), name="version"),
    path("api/versions/<int:pk>/activate", versions.Activate.as_view(), name="activate_version"),
    path("api/versions/<int:pk>/export", versions.Export.as_view(), name="version_export"),
    path("api/batches", batches.Batches.as_view(), name="batches"),
    path("api/batches/<int:pk>", batches.OneBatch.as_view(), name="batch"),
    path("api/batches/<int:pk>/files", batches.Files.as_view(), name="batch_files"),
    path("api/batches/<int:pk>/archive", batches.Archive.as_view(), name="batch_archive"),
    path("api/batches/<int:pk>/start", batches.Start.as_view(), name="batch_start"),
    path("api/batches/<int:pk>/stop", batches.Stop.as_view(), name="batch_stop"),
    path("api/batches/<int:pk>/resume", batches.Resume.as_view(), name="batch_resume"),
    path("api/batches/<int:pk>/items", batches.Items.as_view(), name="batch_items"),
    path("api/batches/<int:pk>/results", batches.Results.as_view(), name="batch_results"),
]
