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


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        *(
            ("--since", text, f"{text!r} is not EPOCH:OFFSET and not 'beginning'")
            for text in ("17", "epoch:", ":17", "epoch:-1", "epoch:x")
        ),
        ("--count", "0", "'0' is not a number of messages, such as 10"),
        ("--timeout", "-1", "'-1' is not a number of seconds, such as 10 or 0.5"),
        ("--timeout", "soon", "'soon' is not a number of seconds, such as 10 or 0.5"),
    ],
)
def test_malformed_option_is_said(option: str, text: str, reason: str) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("realtime_listen", "orders/42", f"{option}={text}")
    assert str(raised.value) == f"Error: argument {option}: {reason}"
