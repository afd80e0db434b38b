import pytest
from django.core.management import call_command

from breedsite.checks import (
    plain_http_stays_on_this_machine,
    processes_of_a_training_have_a_core_each,
    the_worker_has_a_process,
)


def test_a_clean_checkout_has_no_failing_system_check():
    call_command("check", fail_level="WARNING")


def test_a_worker_without_a_process_is_refused(settings):
    settings.WORKER_SLOTS = 0
    [problem] = the_worker_has_a_process(None)
    assert problem.id == "breedsite.E001" and "WORKER_SLOTS" in problem.msg and problem.hint


@pytest.mark.parametrize(
    ("number", "device", "said"),
    [("3", "cpu", True), ("2", "cpu", False), ("all", "cpu", False), ("16", "auto", False)],
)
def test_more_processes_than_cores_are_a_warning(settings, number: str, device: str, said: bool):
    settings.CORES, settings.DEVICES_PER_RUN, settings.TORCH_DEVICE = 2, number, device
    found = processes_of_a_training_have_a_core_each(None)
    assert [problem.id for problem in found] == ["breedsite.W004"] * said
    assert all("the 2 cores" in problem.msg and problem.hint for problem in found)


@pytest.mark.parametrize(
    ("host", "production", "said"),
    [
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.0.2.7", False, True),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("0.0.0.0", True, False),
    ],
)
def test_plain_http_on_the_network_is_a_warning(settings, host: str, production: bool, said: bool):
    settings.HOST, settings.PRODUCTION = host, production
    found = plain_http_stays_on_this_machine(None)
    assert [problem.id for problem in found] == ["breedsite.W002"] * said
    assert all(host in problem.msg and "SITE_URL" in problem.hint for problem in found)
