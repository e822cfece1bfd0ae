"""The forms that staff fill in before an action on connections, or to publish a test message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..errors import BadChannel, BadPayload, RealtimeError, TooLarge, UnknownChannel
from ..models import ConnectionRecord
from ..protocol.names import MAX_NAME_LENGTH, is_key
from .display import visible

MAX_NOTICE_LENGTH = 2_000

MAX_EVENT_LENGTH = 100
"""Characters of an event's name, as ``publish`` takes it."""

DURATIONS = (
    ("600", gettext_lazy("10 minutes")),
    ("3600", gettext_lazy("1 hour")),
    ("86400", gettext_lazy("1 day")),
    ("604800", gettext_lazy("1 week")),
)
"""How long a block lasts: seconds, as text."""

_CODE = {"dir": "ltr", "autocapitalize": "off", "spellcheck": "false"}


def _channel_field(help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=MAX_NAME_LENGTH,
        widget=widgets.AdminTextInputWidget(attrs=_CODE),
        help_text=help_text,
    )


class ActionForm(forms.Form):
    """What an action needs to know; nothing by default."""

    required_css_class = "required"

    def suggest(self, connections: Sequence[ConnectionRecord]) -> None:
        """Fill in what follows from the connections."""


class DisconnectForm(ActionForm):
    """Whether the clients may reconnect."""

    STAY_AWAY: ClassVar[str] = "stay_away"
    MAY_RETURN: ClassVar[str] = "may_return"

    then = forms.ChoiceField(
        label=gettext_lazy("Afterwards"),
        choices=(
            (STAY_AWAY, gettext_lazy("Clients do not reconnect by themselves (4403)")),
            (MAY_RETURN, gettext_lazy("Clients may reconnect (4503)")),
        ),
        initial=STAY_AWAY,
        widget=forms.RadioSelect,
    )
    retry_after = forms.IntegerField(
        label=gettext_lazy("Reconnect after (seconds)"),
        min_value=0,
        max_value=86_400,
        initial=5,
        required=False,
        widget=forms.NumberInput(attrs={"class": "vIntegerField"}),
        help_text=gettext_lazy("Only used if clients may reconnect."),
    )


class NoticeForm(ActionForm):
    """The text of a notice."""

    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=MAX_NOTICE_LENGTH,
        widget=widgets.AdminTextareaWidget(attrs={"rows": 4}),
        help_text=gettext_lazy(
            "Sent as the notice {“text”: …}. Your site decides how its pages show it."
        ),
    )


class BroadcastForm(NoticeForm):
    """The text of a notice to many, which has to be confirmed."""

    confirmed = forms.BooleanField(
        label=gettext_lazy("Yes, send it to all of them"),
        error_messages={"required": gettext_lazy("Confirm that all of them are to receive it.")},
    )


class UnsubscribeForm(ActionForm):
    """The channel of the subscriptions to end."""

    channel = _channel_field(gettext_lazy("The full name, such as orders/42."))

    def clean_channel(self) -> str:
        """The name, if it is valid."""
        name: str = self.cleaned_data["channel"]
        if not is_key(name):
            raise ValidationError(
                _("%(name)s is not a valid channel name."), params={"name": visible(name)}
            )
        return name


class BlockForm(ActionForm):
    """What to block, and for how long."""

    USERS: ClassVar[str] = "users"
    ADDRESSES: ClassVar[str] = "addresses"

    target = forms.ChoiceField(
        label=gettext_lazy("Block"),
        choices=(
            (USERS, gettext_lazy("the users")),
            (ADDRESSES, gettext_lazy("the addresses, with everyone who connects from them")),
        ),
        widget=forms.RadioSelect,
    )
    seconds = forms.ChoiceField(label=gettext_lazy("Duration"), choices=DURATIONS)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=255,
        required=False,
        widget=widgets.AdminTextInputWidget,
        help_text=gettext_lazy("Only staff see it; the client does not."),
    )

    def suggest(self, connections: Sequence[ConnectionRecord]) -> None:
        """Addresses, if all connections are anonymous."""
        anonymous = not any(connection.user_pk for connection in connections)
        self.initial.setdefault("target", self.ADDRESSES if anonymous else self.USERS)


class PublishForm(forms.Form):
    """A test message: what ``publish()`` takes, with the payload as JSON."""

    channel = _channel_field(
        gettext_lazy("The full name, such as orders/42. All subscribers receive the message.")
    )
    event = forms.CharField(
        label=gettext_lazy("Event"),
        max_length=MAX_EVENT_LENGTH,
        required=False,
        widget=widgets.AdminTextInputWidget(attrs=_CODE),
        help_text=gettext_lazy("The name of the event; optional."),
    )
    payload = forms.CharField(
        label=gettext_lazy("Payload"),
        widget=widgets.AdminTextareaWidget(attrs={**_CODE, "rows": 8}),
        help_text=gettext_lazy('JSON. Put text in quotes: "hello".'),
    )

    def clean_payload(self) -> Any:
        """The value that the JSON stands for."""
        text = self.cleaned_data["payload"]
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValidationError(
                _("This is not valid JSON: %(error)s in line %(line)d, column %(column)d."),
                code="invalid",
                params={"error": error.msg, "line": error.lineno, "column": error.colno},
            ) from None
        except (ValueError, RecursionError):  # a number of too many digits; too many brackets
            raise ValidationError(
                _("This JSON cannot be read: a number is too long, or the nesting is too deep."),
                code="invalid",
            ) from None

    def refuse(self, error: RealtimeError) -> None:
        """Show why the message was not published, at the field that has to change."""
        if isinstance(error, (BadChannel, UnknownChannel)):
            field = "channel"
        elif isinstance(error, (BadPayload, TooLarge)):
            field = "payload"
        else:
            field = None
        self.add_error(field, ValidationError(error.reason, code=error.code.value))
