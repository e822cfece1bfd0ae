"""``manage.py realtime_listen``: its arguments. ``tests.integration.test_python_client`` has the rest."""

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--user", "nobody"], "There is no user 'nobody'."),
        (["--token-env", "UNSET"], "The environment variable UNSET is not set."),
    ],
)
def test_mistake_in_the_credentials_is_said(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("realtime_listen", "orders/42", *arguments)
    assert (str(raised.value), raised.value.returncode) == (reason, 2)


@pytest.mark.parametrize("since", ["17", "epoch:", ":17", "epoch:-1", "epoch:x"])
def test_malformed_position_is_said(since: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("realtime_listen", "orders/42", "--since", since)
    assert str(raised.value) == (
        f"Error: argument --since: {since!r} is not EPOCH:OFFSET and not 'beginning'"
    )
