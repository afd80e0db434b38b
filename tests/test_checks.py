from django.core.management import call_command

from breedsite.checks import the_worker_has_a_process


def test_a_clean_checkout_has_no_failing_system_check():
    call_command("check", fail_level="WARNING")


def test_a_worker_without_a_process_is_refused(settings):
    settings.WORKER_SLOTS = 0
    [problem] = the_worker_has_a_process(None)
    assert problem.id == "breedsite.E001" and "WORKER_SLOTS" in problem.msg and problem.hint
