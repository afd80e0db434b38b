from django.urls import path

from trainer.api import datasets, runs

urlpatterns = [
    path("api/datasets", datasets.Datasets.as_view(), name="datasets"),
    path("api/datasets/upload/<uuid:key>", datasets.Pieces.as_view(), name="dataset_upload"),
    path("api/datasets/<int:pk>", datasets.OneDataset.as_view(), name="dataset"),
    path("api/datasets/<int:pk>/report", datasets.Report.as_view(), name="dataset_report"),
    path("api/datasets/<int:pk>/photos", datasets.Photos.as_view(), name="dataset_photos"),
    path("api/datasets/<int:pk>/stop", datasets.Stop.as_view(), name="stop_dataset"),
    path("api/runs", runs.Runs.as_view(), name="runs"),
    path("api/runs/<int:pk>", runs.OneRun.as_view(), name="run"),
    path("api/runs/<int:pk>/stop", runs.Stop.as_view(), name="stop_run"),
    path("api/runs/<int:pk>/resume", runs.Resume.as_view(), name="resume_run"),
    path("api/runs/<int:pk>/clone", runs.Clone.as_view(), name="clone_run"),
    path("api/runs/<int:pk>/epochs.csv", runs.Epochs.as_view(), name="run_epochs"),
]
