"""`manage.py prepare`: what must have happened before the site starts, and does no harm the second time."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import OperationalError

from breedsite.storage import StorageAway, store

STARTER = settings.BASE_DIR / "classifier" / "starter"


class Command(BaseCommand):
    help = "Migrate the database, install the starter model if no model is active, make the first administrator."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DATA_DIR.is_dir():  # which the settings make where SECRET_KEY is not set
            raise CommandError(f"The data folder {settings.DATA_DIR} is not there: make it, mount it, or set DATA_DIR.")
        try:
            self.migrate()
            self.begin_storage()
            self.install_starter()
            call_command("firstadmin", stdout=self.stdout)
        except OperationalError as error:
            raise CommandError(
                f"The database cannot be used ({str(error).strip()}): check DATABASE_URL, or, where it is not set, "
                f"the rights and the room of the data folder {settings.DATA_DIR}."
            ) from error

    def migrate(self) -> None:
        executor = MigrationExecutor(connection)
        steps = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if steps:
            self.stdout.write(f"Database: {len(steps)} migrations to apply.")
            call_command("migrate", interactive=False, verbosity=0)

    def begin_storage(self) -> None:
        """Where STORAGE_URL names one that hosts share. Raises CommandError."""
        try:
            store().begin()
        except StorageAway as error:
            raise CommandError(f"{error}: check STORAGE_URL, and what boto is told of the way to it.") from error

    def install_starter(self) -> None:
        """Without a model the site still starts: its page says what to do."""
        if not (STARTER / "spec.json").exists():
            self.stdout.write(
                "There is no starter model in classifier/starter: "
                "install one with `manage.py importversion FOLDER --activate`."
            )
            return
        try:
            call_command("importversion", STARTER, activate_if_none=True, stdout=self.stdout)
        except CommandError as error:
            self.stderr.write(f"The starter model was not installed: {error}")
