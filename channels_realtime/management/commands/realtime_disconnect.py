"""``manage.py realtime_disconnect``: revoke credentials, and close their connections."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from channels_realtime.auth.revoking import revoke
from channels_realtime.errors import ImproperUse


class Command(BaseCommand):
    """Revokes a user, a login session or a token, and closes the connections opened with it."""

    help = (
        "Revoke credentials, and close every connection that was opened with them, in every process."
        " A user who logs in again can connect again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options that name what to revoke."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--user", help="a username or a primary key")
        what.add_argument("--session", help="the key of a login session")
        what.add_argument("--token", help="a JWT, or a token's id (jti)")
        what.add_argument(
            "--family", help="the id (sid) of a token family: all tokens of one login"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke the credentials.

        Raises:
            CommandError: the user is unknown, or the token cannot be read.
        """
        try:
            if options["user"] is not None:
                revoke(user=self._user(options["user"]))
            else:
                revoke(
                    login_session=options["session"],
                    token=options["token"],
                    family=options["family"],
                )
        except ImproperUse as error:
            raise CommandError(error.reason) from None
        if options["verbosity"] > 0:
            self.stdout.write("Revoked. The connections are being closed.")

    def _user(self, text: str) -> Any:
        model = get_user_model()
        try:
            return model._default_manager.get_by_natural_key(text)  # type: ignore[attr-defined]
        except model.DoesNotExist:
            pass
        try:
            return model._default_manager.get(pk=text)
        except (model.DoesNotExist, ValueError, ValidationError):
            raise CommandError(f"There is no user {text!r}.") from None
