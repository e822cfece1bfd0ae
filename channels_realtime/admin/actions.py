"""What staff can do to connections: each action, what its pages say, and how it is carried out.

In: connections and the values of a form. Out: what ``operations`` achieved, in words for the person
who acted and for Django's admin log. The pages around this are in ``action_views``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from .. import operations
from ..errors import RealtimeError
from ..models import ConnectionRecord
from .display import visible
from .forms import (
    DURATIONS,
    ActionForm,
    BlockForm,
    DisconnectForm,
    NoticeForm,
    UnsubscribeForm,
)
from .log import log_block
from .permissions import ACT, BLOCK, may

_ENDED = ngettext_lazy(
    "%(number)d connection had already ended.",
    "%(number)d connections had already ended.",
    "number",
)
_ANONYMOUS = ngettext_lazy(
    "%(number)d connection is anonymous, so it has no user to act on.",
    "%(number)d connections are anonymous, so they have no user to act on.",
    "number",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an action achieved.

    Args:
        outcome: for each connection.
        logged: what the log says of each connection.
        done: what the person who acted is told of those in ``outcome.done``.
        gone: likewise of those in ``outcome.gone``.
    """

    outcome: operations.Outcome
    logged: str
    done: str = ""
    gone: str = ""


def _result(
    outcome: operations.Outcome,
    *,
    logged: str,
    done: Any,
    gone: Any = _ENDED,
    number: int | None = None,
    **values: str,
) -> Result:
    """A result in words: ``number`` is how many were done, connections unless given."""
    count = len(outcome.done) if number is None else number
    return Result(
        outcome=outcome,
        logged=logged,
        done=done % {"number": count, **values},
        gone=gone % {"number": len(outcome.gone)},
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that staff can do to connections.

    Args:
        name: in URLs.
        label: in the menu of the list, and the heading of the confirmation page.
        button: on the page of a connection, and of the confirmation page.
        effect: what will happen, in a sentence or two.
        form: what the action needs to know.
        carry_out: does it.
        permissions: which it needs.
        ends: whether the connections are closed by it.
        dangerous: whether its button is to look so.
    """

    name: str
    label: Any
    button: Any
    effect: Any
    form: type[ActionForm] = ActionForm
    carry_out: Callable[[HttpRequest, Sequence[ConnectionRecord], Mapping[str, Any]], Result]
    permissions: tuple[str, ...] = ACT
    ends: bool = False
    dangerous: bool = False

    def may(self, request: HttpRequest) -> bool:
        """Whether the user has the permissions."""
        return may(request, *self.permissions)


# -- how they are carried out ----------------------------------------------------------------------


def _ids(connections: Iterable[ConnectionRecord]) -> list[str]:
    return [connection.pk for connection in connections]


def _disconnect(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    may_return = asked["then"] == DisconnectForm.MAY_RETURN
    retry_after = asked["retry_after"] if may_return else None
    if not may_return:
        logged = _("Disconnected (4403).")
    elif retry_after is None:
        logged = _("Disconnected; the client may reconnect (4503).")
    else:
        logged = _("Disconnected; the client may reconnect after %d s (4503).") % retry_after
    return _result(
        operations.disconnect(_ids(connections), may_return=may_return, retry_after=retry_after),
        logged=logged,
        done=ngettext_lazy(
            "%(number)d connection was disconnected.",
            "%(number)d connections were disconnected.",
            "number",
        ),
    )


def _notify(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    return _result(
        operations.send_notice(_ids(connections), {"text": asked["text"]}),
        logged=_("Sent a notice: %s") % visible(asked["text"]),
        done=ngettext_lazy(
            "The notice was sent to %(number)d connection.",
            "The notice was sent to %(number)d connections.",
            "number",
        ),
    )


def _unsubscribe(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    channel = asked["channel"]
    return _result(
        operations.unsubscribe(_ids(connections), channel),
        logged=_("Unsubscribed from %s.") % channel,
        done=ngettext_lazy(
            "%(number)d connection was unsubscribed from %(channel)s.",
            "%(number)d connections were unsubscribed from %(channel)s.",
            "number",
        ),
        gone=ngettext_lazy(
            "%(number)d connection was not subscribed or had already ended.",
            "%(number)d connections were not subscribed or had already ended.",
            "number",
        ),
        channel=channel,
    )


def _ask_for_credentials(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    return _result(
        operations.ask_for_credentials(_ids(connections)),
        logged=_("Asked for new credentials."),
        done=ngettext_lazy(
            "%(number)d connection was asked for new credentials.",
            "%(number)d connections were asked for new credentials.",
            "number",
        ),
        gone=ngettext_lazy(
            "%(number)d connection has no token or had already ended.",
            "%(number)d connections have no token or had already ended.",
            "number",
        ),
    )


def _revoke(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    def revoke(connection: ConnectionRecord) -> bool:
        try:
            operations.revoke_user(connection.user_pk)
        except RealtimeError:
            return False
        return True

    outcome, number = _for_each(connections, _user_of, revoke)
    return _result(
        outcome,
        logged=_("Revoked all sessions and tokens of the user."),
        done=ngettext_lazy(
            "All sessions and tokens of %(number)d user were revoked.",
            "All sessions and tokens of %(number)d users were revoked.",
            "number",
        ),
        gone=_ANONYMOUS,
        number=number,
    )


def _block(
    request: HttpRequest, connections: Sequence[ConnectionRecord], asked: Mapping[str, Any]
) -> Result:
    users = asked["target"] == BlockForm.USERS
    duration = str(dict(DURATIONS)[asked["seconds"]])

    def block(connection: ConnectionRecord) -> bool:
        target = (
            {"user_pk": connection.user_pk, "user_label": connection.user_label}
            if users
            else {"address": connection.address}
        )
        try:
            record = operations.block(
                **target,
                seconds=float(asked["seconds"]),
                reason=asked["reason"],
                created_by=request.user.get_username(),
            )
        except (RealtimeError, ValidationError):
            return False
        log_block(request, record)
        return True

    outcome, number = _for_each(connections, _user_of if users else _address_of, block)
    if users:
        return _result(
            outcome,
            logged=_("Blocked the user for %s.") % duration,
            done=ngettext_lazy(
                "%(number)d user is blocked for %(length)s.",
                "%(number)d users are blocked for %(length)s.",
                "number",
            ),
            gone=_ANONYMOUS,
            number=number,
            length=duration,
        )
    return _result(
        outcome,
        logged=_("Blocked the address for %s.") % duration,
        done=ngettext_lazy(
            "%(number)d address is blocked for %(length)s.",
            "%(number)d addresses are blocked for %(length)s.",
            "number",
        ),
        gone=ngettext_lazy(
            "The address of %(number)d connection is unknown.",
            "The addresses of %(number)d connections are unknown.",
            "number",
        ),
        number=number,
        length=duration,
    )


def _user_of(connection: ConnectionRecord) -> str:
    return connection.user_pk


def _address_of(connection: ConnectionRecord) -> str:
    return connection.address


def _for_each(
    connections: Sequence[ConnectionRecord],
    target_of: Callable[[ConnectionRecord], str],
    act: Callable[[ConnectionRecord], bool],
) -> tuple[operations.Outcome, int]:
    """Act once on each target that the connections have; the outcome, and how many targets.

    Connections without a target count as gone, those of a target that failed as silent.
    """
    succeeded: dict[str, bool] = {}
    for connection in connections:
        target = target_of(connection)
        if target and target not in succeeded:
            succeeded[target] = act(connection)
    outcome = operations.Outcome(
        done=tuple(c.pk for c in connections if succeeded.get(target_of(c))),
        gone=tuple(c.pk for c in connections if not target_of(c)),
        silent=tuple(c.pk for c in connections if succeeded.get(target_of(c)) is False),
    )
    return outcome, sum(succeeded.values())


# -- the actions -----------------------------------------------------------------------------------

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            name="disconnect",
            label=gettext_lazy("Disconnect"),
            button=gettext_lazy("Disconnect"),
            effect=gettext_lazy("Closes these connections at once."),
            form=DisconnectForm,
            carry_out=_disconnect,
            ends=True,
            dangerous=True,
        ),
        Action(
            name="notify",
            label=gettext_lazy("Send a notice"),
            button=gettext_lazy("Send a notice"),
            effect=gettext_lazy("Sends a message from staff to these connections."),
            form=NoticeForm,
            carry_out=_notify,
        ),
        Action(
            name="unsubscribe",
            label=gettext_lazy("Unsubscribe from a channel"),
            button=gettext_lazy("Unsubscribe"),
            effect=gettext_lazy(
                "Ends the subscriptions of these connections to one channel. A client can"
                " subscribe again if its user may use the channel."
            ),
            form=UnsubscribeForm,
            carry_out=_unsubscribe,
        ),
        Action(
            name="credentials",
            label=gettext_lazy("Ask for new credentials"),
            button=gettext_lazy("Ask for new credentials"),
            effect=gettext_lazy(
                "Clients that connected with a token must send a new one within 30 seconds."
                " Those that do not are disconnected. Login sessions are not affected."
            ),
            carry_out=_ask_for_credentials,
        ),
        Action(
            name="revoke",
            label=gettext_lazy("Revoke all sessions and tokens of the users"),
            button=gettext_lazy("Revoke sessions and tokens"),
            effect=gettext_lazy(
                "Closes all connections of these users, including those not selected here."
                " Logins and tokens from before now cannot open new connections, so the users"
                " must log in again. HTTP requests with the same session still work."
            ),
            carry_out=_revoke,
            ends=True,
            dangerous=True,
        ),
        Action(
            name="block",
            label=gettext_lazy("Block users or addresses"),
            button=gettext_lazy("Block"),
            effect=gettext_lazy(
                "Closes all connections of these users or addresses. They cannot connect again"
                " until the block ends."
            ),
            form=BlockForm,
            carry_out=_block,
            permissions=BLOCK,
            ends=True,
            dangerous=True,
        ),
    )
}
