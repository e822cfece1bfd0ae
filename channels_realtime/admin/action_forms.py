"""The forms of the actions on connections: what staff have to say before one is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import ConnectionRecord
from ..protocol.names import MAX_NAME_LENGTH, is_name
from .display import visible

MAX_NOTICE_LENGTH = 2_000

_PLAIN = {"dir": "ltr", "autocapitalize": "off", "spellcheck": "false"}

LENGTHS = (
    ("600", gettext_lazy("10 minutes")),
    ("3600", gettext_lazy("1 hour")),
    ("86400", gettext_lazy("1 day")),
    ("604800", gettext_lazy("1 week")),
)


class ActionForm(forms.Form):
    """What an action has to be told; by default nothing."""

    required_css_class = "required"

    def offer(self, connections: Sequence[ConnectionRecord]) -> None:
        """Fill in what the connections themselves suggest."""


class DisconnectForm(ActionForm):
    """Whether they may come back."""

    STAY_AWAY: ClassVar[str] = "stay_away"
    MAY_RETURN: ClassVar[str] = "may_return"

    then = forms.ChoiceField(
        label=gettext_lazy("Afterwards"),
        choices=(
            (STAY_AWAY, gettext_lazy("They do not reconnect (4403)")),
            (MAY_RETURN, gettext_lazy("They may reconnect (4503)")),
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
        help_text=gettext_lazy("Only if they may reconnect."),
    )


class NoticeForm(ActionForm):
    """The words to send."""

    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=MAX_NOTICE_LENGTH,
        widget=widgets.AdminTextareaWidget(attrs={"rows": 4}),
        help_text=gettext_lazy(
            "Sent as the notice {“text”: …}. The site's pages decide how to show it."
        ),
    )


class UnsubscribeForm(ActionForm):
    """The channel to end."""

    channel = forms.CharField(
        label=gettext_lazy("Channel"),
        max_length=MAX_NAME_LENGTH,
        widget=widgets.AdminTextInputWidget(attrs=_PLAIN),
        help_text=gettext_lazy("Its full name, such as orders/42."),
    )

    def clean_channel(self) -> str:
        """The name, if it is one."""
        name: str = self.cleaned_data["channel"]
        if not is_name(name):
            raise ValidationError(
                _("%(name)s is not the name of a channel."), params={"name": visible(name)}
            )
        return name


class BlockForm(ActionForm):
    """Whom, and for how long."""

    USERS: ClassVar[str] = "users"
    ADDRESSES: ClassVar[str] = "addresses"

    whom = forms.ChoiceField(
        label=gettext_lazy("Block"),
        choices=(
            (USERS, gettext_lazy("the users")),
            (ADDRESSES, gettext_lazy("the addresses, for all users")),
        ),
        widget=forms.RadioSelect,
    )
    seconds = forms.ChoiceField(label=gettext_lazy("For"), choices=LENGTHS)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=255,
        required=False,
        widget=widgets.AdminTextInputWidget,
        help_text=gettext_lazy("For staff; the client is not told."),
    )

    def offer(self, connections: Sequence[ConnectionRecord]) -> None:
        """Addresses where nobody is logged in."""
        anonymous = not any(connection.user_pk for connection in connections)
        self.initial.setdefault("whom", self.ADDRESSES if anonymous else self.USERS)
