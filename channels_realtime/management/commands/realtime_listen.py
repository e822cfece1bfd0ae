"""``manage.py realtime_listen CHANNEL…``: print what a running server sends to a client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from channels_realtime.client import (
    Client,
    ClientError,
    Closed,
    ConnectFailed,
    HandshakeRefused,
    Message,
    Position,
    Recovered,
    SignedOut,
    State,
    connect,
)
from channels_realtime.errors import Forbidden, RealtimeError, UnknownChannel
from channels_realtime.settings import get_config

USAGE = 2
UNREACHABLE = 3
UNAUTHORISED = 4
REFUSED = 5
INCOMPLETE = 6
INTERRUPTED = 130  # what shells say of a process that SIGINT ended

BEGINNING = "beginning"


class Since(NamedTuple):
    """``--since``; without a position: the oldest message that is kept."""

    position: Position | None


class Command(BaseCommand):
    """Prints a line for each message of channels, as a client of a running server."""

    help = (
        "Connect to a running server as a client, subscribe to channels, and print a line for each"
        " message. Ctrl-C ends it."
    )
    requires_system_checks = ()  # the server has run them

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the channels, the server, the credentials, and what to print."""
        parser.add_argument("channels", nargs="+", metavar="channel", help="such as orders/42")
        parser.add_argument(
            "--url", help="of the WebSocket; by default WEBSOCKET_PATH on ws://127.0.0.1:8000"
        )
        who = parser.add_mutually_exclusive_group()
        who.add_argument(
            "--user",
            help="a username: listen as this user, by a login session made for it in this site's"
            " session store",
        )
        who.add_argument(
            "--token-env", metavar="NAME", help="the environment variable that has the token"
        )
        parser.add_argument(
            "--since",
            type=_since,
            metavar="EPOCH:OFFSET",
            help=f"begin after this position, or with '{BEGINNING}' at the oldest message kept",
        )
        parser.add_argument("--event", action="append", help="print these events alone; repeatable")
        parser.add_argument("--json", action="store_true", help="print each message as JSON")
        parser.add_argument("--count", type=_count, help="end after this many messages")
        parser.add_argument(
            "--timeout", type=_seconds, metavar="S", help="end after this many seconds"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Listen until the count, the time or Ctrl-C ends it.

        Raises:
            CommandError: the server does not run, does not let this client in, or refuses a channel.
        """
        url = options["url"] or f"ws://127.0.0.1:8000/{get_config().websocket_path}"
        token = None
        if options["token_env"] is not None:
            token = os.environ.get(options["token_env"])
            if not token:
                raise CommandError(
                    f"The environment variable {options['token_env']} is not set.", returncode=USAGE
                )
        with self._session(options["user"]) as cookie:
            headers = None if cookie is None else {"Cookie": cookie}
            try:
                asyncio.run(self._listen(url, token, headers, options))
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
            except (ConnectFailed, Closed) as error:
                raise _not_let_in(url, error) from None
            except RealtimeError as error:
                code = REFUSED if isinstance(error, Forbidden | UnknownChannel) else 1
                raise CommandError(f"The server says: {error.reason}", returncode=code) from None

    @contextlib.contextmanager
    def _session(self, name: str | None) -> Iterator[str | None]:
        """The cookie of a login session of a user, which ends with the block."""
        if name is None:
            yield None
            return
        model = get_user_model()
        try:
            user = model._default_manager.get_by_natural_key(name)  # type: ignore[attr-defined]
        except (model.DoesNotExist, ValueError, ValidationError):
            raise CommandError(f"There is no user {name!r}.", returncode=USAGE) from None
        store = import_module(settings.SESSION_ENGINE).SessionStore()
        store[SESSION_KEY] = user._meta.pk.value_to_string(user)
        store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        store[HASH_SESSION_KEY] = user.get_session_auth_hash()
        store.save()
        try:
            yield f"{settings.SESSION_COOKIE_NAME}={store.session_key}"
        finally:
            store.delete()

    async def _listen(
        self, url: str, token: str | None, headers: dict[str, str] | None, options: dict[str, Any]
    ) -> None:
        count, seconds = options["count"], options["timeout"]
        printed = 0
        client = connect(
            url,
            token=token,
            headers=headers,
            open_timeout_s=0,
            on_state=lambda state: self._told(client, state, options["verbosity"]),
        )
        try:
            async with asyncio.timeout(seconds), client:
                async for message in _messages(client, options["channels"], options["since"]):
                    if isinstance(message, str):
                        self.stderr.write(message)
                        continue
                    if options["event"] and message.event not in options["event"]:
                        continue
                    self.stdout.write(_as_json(message) if options["json"] else _as_text(message))
                    self.stdout.flush()
                    printed += 1
                    if printed == count:
                        return
        except TimeoutError:
            if count is not None:
                raise CommandError(
                    f"Only {printed} of {count} messages came within {seconds:g} s.",
                    returncode=INCOMPLETE,
                ) from None

    def _told(self, client: Client, state: State, verbosity: int) -> None:
        delay = client.next_delay_s
        if verbosity < 1 or state is not State.WAITING or delay is None:
            return
        if client.connection_id is not None:  # else the first attempt has failed
            self.stderr.write(f"Not connected; next attempt in {delay:.1f} s.")


async def _messages(client: Client, channels: list[str], since: Since | None) -> Any:
    """The messages of all channels as they come, and texts for the standard error."""
    queue: asyncio.Queue[Message | str] = asyncio.Queue(maxsize=1)

    async def follow(channel: str) -> None:
        position = None if since is None else since.position
        if since is not None and position is None:
            position = await _oldest(client, channel)
        async with client.subscribe(channel, since=position) as subscription:
            async for event in subscription.events():
                if isinstance(event, Message):
                    await queue.put(event)
                elif isinstance(event, Recovered) and not (event.complete or event.state):
                    await queue.put(f"Messages of {channel} may be missing.")

    following = [asyncio.create_task(follow(channel)) for channel in dict.fromkeys(channels)]
    try:
        while True:
            item = asyncio.ensure_future(queue.get())
            try:
                await asyncio.wait([item, *following], return_when=asyncio.FIRST_COMPLETED)
                if item.done():
                    yield item.result()
                    continue
            finally:
                item.cancel()
            for task in following:
                if task.done():
                    task.result()
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _oldest(client: Client, channel: str) -> Position | None:
    """The position before the oldest message that a channel keeps."""
    found = await client.history(channel, limit=1)
    if not found.messages:
        return found.position
    first = found.messages[0].position
    return None if first is None else Position(first.epoch, first.offset - 1)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a number of messages, such as 10")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds, such as 10 or 0.5")
    return seconds


def _since(text: str) -> Since:
    if text == BEGINNING:
        return Since(None)
    epoch, colon, offset = text.rpartition(":")
    if not (epoch and colon and offset.isascii() and offset.isdigit()):
        raise ArgumentTypeError(f"{text!r} is not EPOCH:OFFSET and not {BEGINNING!r}")
    return Since(Position(epoch, int(offset)))


def _as_text(message: Message) -> str:
    """Such as ``orders/42 9f3c:17 moved {"to": 3}``."""
    at = message.position
    parts = [message.channel]
    if at is not None:
        parts.append(f"{at.epoch}:{at.offset}")
    if message.event is not None:
        parts.append(message.event)
    parts.append(json.dumps(message.payload, ensure_ascii=False))
    return " ".join(parts)


def _as_json(message: Message) -> str:
    found: dict[str, Any] = {"channel": message.channel, "payload": message.payload}
    if message.position is not None:
        found |= {"epoch": message.position.epoch, "offset": message.position.offset}
    fields = ("event", "sender", "recovered", "version", "state_key", "removed", "state")
    found |= {name: value for name in fields if (value := getattr(message, name))}
    return json.dumps(found, ensure_ascii=False)


def _not_let_in(url: str, error: ClientError) -> CommandError:
    """What to tell of a client that has no connection."""
    if isinstance(error, SignedOut):
        return CommandError(
            f"The server does not let this client in: {error.reason}. Expected --user NAME, or a token"
            " that is valid in the variable of --token-env.",
            returncode=UNAUTHORISED,
        )
    if isinstance(error, Closed):
        return CommandError(f"The server has ended it: {error.reason}", returncode=REFUSED)
    cause = error.__cause__
    if isinstance(cause, OSError):
        return CommandError(
            f"No server answers at {url}. Start it, or name its address with --url.",
            returncode=UNREACHABLE,
        )
    if isinstance(cause, HandshakeRefused):
        return CommandError(
            f"The handshake at {url} was answered with HTTP {cause.status}. Expected the address of"
            " channels_realtime's WebSocket, on a server that is not draining or full, which takes"
            " clients without an Origin.",
            returncode=UNREACHABLE,
        )
    return CommandError(f"No connection to {url}: {error.reason}", returncode=UNREACHABLE)
