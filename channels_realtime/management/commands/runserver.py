"""``runserver`` as it would be without this app, with our server in place of Daphne's.

Django takes the command of the first app that has one. Where this app comes before ``daphne``, that is
this one: it is Daphne's own command then, with frames that are made once (``servers.daphne``). In
front of any other app's command, and of Django's, it changes nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import find_commands
from django.core.management.commands.runserver import Command as DjangoCommand

OWN_APP = "channels_realtime"


def next_command() -> type[Any]:
    """The command that runs where this app is not installed."""
    for app in apps.get_app_configs():
        if app.name != OWN_APP and "runserver" in find_commands(str(Path(app.path) / "management")):
            found: type[Any] = import_module(f"{app.name}.management.commands.runserver").Command
            return found
    return DjangoCommand


def command() -> type[Any]:
    """That command; with our server if it starts Daphne's."""
    base = next_command()
    server = getattr(base, "server_cls", None)
    if "daphne.server" not in sys.modules or server is not sys.modules["daphne.server"].Server:
        return base
    from ...servers.daphne.server import Server  # only where Daphne is installed

    return type("Command", (base,), {"server_cls": Server, "__module__": __name__})


Command = command()
