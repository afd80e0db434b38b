from django.core.management import call_command


def test_a_clean_checkout_has_no_failing_system_check():
    call_command("check", fail_level="WARNING")
