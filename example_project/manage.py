#!/usr/bin/env python
"""Command line of the example; `python example_project/manage.py demo` serves the site."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line


def main() -> None:
    # Use the package of this checkout, installed or not. The first entry is the apps' directory.
    sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_config.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
