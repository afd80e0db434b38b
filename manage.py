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
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        sys.exit(f"breedsite cannot start: {error}")
    except BrokenPipeError:  # who read the output has enough (`manage.py predict … | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python, at its end, would write to it again
        sys.exit(141)  # what a shell says of a command that SIGPIPE ended
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell says of a command that Ctrl-C ended
