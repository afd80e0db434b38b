"""ModelVersion: what is installed, what is active."""

import pytest

from classifier.models import ModelVersion


def test_the_fixture_is_active_and_answers(active_version, picture):
    from django.apps import apps

    prediction = apps.get_app_config("classifier").predictor.predict(picture)
    assert prediction.identity.digest == active_version.digest
    assert prediction.probabilities.sum() == pytest.approx(1)
    assert ModelVersion.objects.active() == active_version
