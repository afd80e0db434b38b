"""`manage.py firstadmin`: an administrator with a generated name and password, unless there is one already."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Make an administrator if there is none, and print the generated password, this once."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        name = f"admin-{secrets.token_hex(2)}"
        password = secrets.token_urlsafe(12)  # 96 bits
        users.create_superuser(name, password=password)
        self.stdout.write(
            f"The first administrator: name {name}, password {password} "
            f"(not shown again and stored only as a hash; sign in at {settings.SITE_URL}/admin/)"
        )
