#!/usr/bin/env python
"""The project's one command line: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "breedsite.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"breedsite cannot start: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell says of a command that Ctrl-C ended
