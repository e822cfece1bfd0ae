"""What staff can do to connections: the actions, and how they are carried out and logged.

In: the ids of connections and the values of a form. Out: what ``operations`` achieved, as a message to
the person who did it and as entries in Django's admin log, one for each connection. The pages around
this are in ``action_views``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import operations
from ..errors import RealtimeError
from ..models import ConnectionRecord
from .action_forms import (
    LENGTHS,
    ActionForm,
    BlockForm,
    DisconnectForm,
    NoticeForm,
    UnsubscribeForm,
)
from .display import visible
from .log import log_block

MOST = 10_000
"""Connections that one action is for."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an action.

    Args:
        outcome: of each connection.
        done: what was achieved, in words for whoever did it; empty where nothing was.
        gone: what those were which count as gone, in words.
        logged: what is noted of each connection.
    """

    outcome: operations.Outcome
    done: str
    gone: str
    logged: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that can be done to connections.

    Args:
        name: in URLs.
        label: in the list's menu.
        button: of one connection, and of the page that asks.
        question: the heading of the page that asks.
        effect: what will happen, in a sentence or two.
        form: what has to be said.
        carry_out: does it.
        ends: whether the connections are gone afterwards.
        blocks: whether the permission to add blocks is needed as well.
    """

    name: str
    label: Any
    button: Any
    question: Any
    effect: Any
    form: type[ActionForm]
    carry_out: Callable[[HttpRequest, Sequence[ConnectionRecord], Mapping[str, Any]], Result]
    ends: bool = False
    blocks: bool = False

    def may(self, request: HttpRequest) -> bool:
        """Whether this person may do it."""
        user: Any = request.user
        return may_act(request) and (
            not self.blocks or user.has_perm("channels_realtime.add_blockrecord")
        )


def may_act(request: HttpRequest) -> bool:
    """Whether this person may act on connections: on those that he or she may see."""
    user: Any = request.user
    return bool(
        user.has_perms(
            ["channels_realtime.view_connectionrecord", "channels_realtime.act_on_connection"]
        )
    )


def is_id(text: str) -> bool:
    """Whether this can be the id of a connection."""
    return _ID.fullmatch(text) is not None


def _ids(connections: Iterable[ConnectionRecord]) -> list[str]:
    return [connection.pk for connection in connections]


def _were_gone(outcome: operations.Outcome) -> str:
    number = len(outcome.gone)
    return ngettext(
        "%(number)d connection was no longer there.",
        "%(number)d connections were no longer there.",
        number,
    ) % {"number": number}


def _disconnect(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    may_return = asked["then"] == DisconnectForm.MAY_RETURN
    retry_after = asked["retry_after"] if may_return else None
    outcome = operations.disconnect(
        _ids(connections), may_return=may_return, retry_after=retry_after
    )
    number = len(outcome.done)
    if not may_return:
        logged = _("Disconnected (4403).")
    elif retry_after is None:
        logged = _("Disconnected; may reconnect (4503).")
    else:
        logged = _("Disconnected; may reconnect after %d s (4503).") % retry_after
    return Result(
        outcome=outcome,
        done=ngettext(
            "%(number)d connection was disconnected.",
            "%(number)d connections were disconnected.",
            number,
        )
        % {"number": number},
        gone=_were_gone(outcome),
        logged=logged,
    )


def _notify(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    outcome = operations.send_notice(_ids(connections), {"text": asked["text"]})
    number = len(outcome.done)
    return Result(
        outcome=outcome,
        done=ngettext(
            "The notice was sent to %(number)d connection.",
            "The notice was sent to %(number)d connections.",
            number,
        )
        % {"number": number},
        gone=_were_gone(outcome),
        logged=_("Sent a notice: %s") % visible(asked["text"]),
    )


def _unsubscribe(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    channel = asked["channel"]
    outcome = operations.unsubscribe(_ids(connections), channel)
    number, without = len(outcome.done), len(outcome.gone)
    return Result(
        outcome=outcome,
        done=ngettext(
            "%(number)d subscription to %(channel)s was ended.",
            "%(number)d subscriptions to %(channel)s were ended.",
            number,
        )
        % {"number": number, "channel": channel},
        gone=ngettext(
            "%(number)d connection was not subscribed, or no longer there.",
            "%(number)d connections were not subscribed, or no longer there.",
            without,
        )
        % {"number": without},
        logged=_("Unsubscribed from %s.") % channel,
    )


def _ask_for_credentials(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    outcome = operations.ask_for_credentials(_ids(connections))
    number, without = len(outcome.done), len(outcome.gone)
    return Result(
        outcome=outcome,
        done=ngettext(
            "%(number)d connection was asked for fresh credentials.",
            "%(number)d connections were asked for fresh credentials.",
            number,
        )
        % {"number": number},
        gone=ngettext(
            "%(number)d connection did not authenticate with a token, or is no longer there.",
            "%(number)d connections did not authenticate with a token, or are no longer there.",
            without,
        )
        % {"number": without},
        logged=_("Asked for fresh credentials."),
    )


def _revoke(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    users = list(dict.fromkeys(c.user_pk for c in connections if c.user_pk))
    failed: set[str] = set()
    for user_pk in users:
        try:
            operations.revoke_user(user_pk)
        except RealtimeError:
            failed.add(user_pk)
    outcome = operations.Outcome(
        done=tuple(c.pk for c in connections if c.user_pk and c.user_pk not in failed),
        gone=tuple(c.pk for c in connections if not c.user_pk),
        silent=tuple(c.pk for c in connections if c.user_pk in failed),
    )
    number = len(users) - len(failed)
    return Result(
        outcome=outcome,
        done=ngettext(
            "All sessions and tokens of %(number)d user were revoked.",
            "All sessions and tokens of %(number)d users were revoked.",
            number,
        )
        % {"number": number},
        gone=_are_anonymous(outcome),
        logged=_("Revoked all sessions and tokens of the user."),
    )


def _are_anonymous(outcome: operations.Outcome) -> str:
    number = len(outcome.gone)
    return ngettext(
        "%(number)d connection is anonymous: there is no user to act on.",
        "%(number)d connections are anonymous: there is no user to act on.",
        number,
    ) % {"number": number}


def _block(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    users = asked["whom"] == BlockForm.USERS
    key = _user_of if users else _address_of
    blocked: dict[str, bool] = {}
    for connection in connections:
        value = key(connection)
        if value and value not in blocked:
            blocked[value] = _block_one(request, connection, asked, users=users)
    outcome = operations.Outcome(
        done=tuple(c.pk for c in connections if blocked.get(key(c))),
        gone=tuple(c.pk for c in connections if not key(c)),
        silent=tuple(c.pk for c in connections if blocked.get(key(c)) is False),
    )
    number = sum(blocked.values())
    length = str(dict(LENGTHS)[asked["seconds"]])
    if users:
        done = ngettext(
            "%(number)d user is blocked for %(length)s.",
            "%(number)d users are blocked for %(length)s.",
            number,
        )
        gone, logged = _are_anonymous(outcome), _("Blocked the user for %s.") % length
    else:
        done = ngettext(
            "%(number)d address is blocked for %(length)s.",
            "%(number)d addresses are blocked for %(length)s.",
            number,
        )
        gone = ngettext(
            "The address of %(number)d connection is unknown.",
            "The addresses of %(number)d connections are unknown.",
            len(outcome.gone),
        ) % {"number": len(outcome.gone)}
        logged = _("Blocked the address for %s.") % length
    return Result(
        outcome=outcome,
        done=done % {"number": number, "length": length},
        gone=gone,
        logged=logged,
    )


def _user_of(connection: ConnectionRecord) -> str:
    return connection.user_pk


def _address_of(connection: ConnectionRecord) -> str:
    return connection.address


def _block_one(
    request: HttpRequest, connection: ConnectionRecord, asked: Mapping[str, Any], *, users: bool
) -> bool:
    """Block one user or address; False where that could not be done."""
    whom = (
        {"user_pk": connection.user_pk, "user_label": connection.user_label}
        if users
        else {"address": connection.address}
    )
    try:
        record = operations.block(
            **whom,
            seconds=float(asked["seconds"]),
            reason=asked["reason"],
            created_by=request.user.get_username(),
        )
    except (RealtimeError, ValidationError):
        return False
    log_block(request, record)
    return True


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            name="disconnect",
            label=gettext_lazy("Disconnect"),
            button=gettext_lazy("Disconnect"),
            question=gettext_lazy("Disconnect?"),
            effect=gettext_lazy("Closes these connections now."),
            form=DisconnectForm,
            carry_out=_disconnect,
            ends=True,
        ),
        Action(
            name="notify",
            label=gettext_lazy("Send a notice"),
            button=gettext_lazy("Send a notice"),
            question=gettext_lazy("Send a notice?"),
            effect=gettext_lazy("Sends a message from staff to these connections."),
            form=NoticeForm,
            carry_out=_notify,
        ),
        Action(
            name="unsubscribe",
            label=gettext_lazy("Unsubscribe from a channel"),
            button=gettext_lazy("Unsubscribe"),
            question=gettext_lazy("Unsubscribe from a channel?"),
            effect=gettext_lazy(
                "Ends the subscriptions to one channel. A page may subscribe again if its user has"
                " the right to."
            ),
            form=UnsubscribeForm,
            carry_out=_unsubscribe,
        ),
        Action(
            name="credentials",
            label=gettext_lazy("Ask for fresh credentials"),
            button=gettext_lazy("Ask for fresh credentials"),
            question=gettext_lazy("Ask for fresh credentials?"),
            effect=gettext_lazy(
                "Clients that authenticated with a token must send a fresh one within 30 seconds,"
                " or are disconnected. Login sessions are not affected."
            ),
            form=ActionForm,
            carry_out=_ask_for_credentials,
        ),
        Action(
            name="revoke",
            label=gettext_lazy("Revoke all sessions and tokens of the users"),
            button=gettext_lazy("Revoke sessions and tokens"),
            question=gettext_lazy("Revoke all sessions and tokens of the users?"),
            effect=gettext_lazy(
                "Closes all connections of these users, also those that are not selected here."
                " Their logins and tokens from before now open no new connection: they have to log"
                " in again. Ordinary HTTP requests continue with the same session."
            ),
            form=ActionForm,
            carry_out=_revoke,
            ends=True,
        ),
        Action(
            name="block",
            label=gettext_lazy("Block users or addresses"),
            button=gettext_lazy("Block"),
            question=gettext_lazy("Block users or addresses?"),
            effect=gettext_lazy(
                "Closes all their connections and accepts no new ones until the time is over."
            ),
            form=BlockForm,
            carry_out=_block,
            ends=True,
            blocks=True,
        ),
    )
}
