"""Blocks users and addresses for a time.

In: rows, read at the first handshake, every few seconds and when a control message says that they
changed. Out: verdicts from memory, which cost a handshake nothing but a look into a dict, and
connections closed with 4403. While the database is slow or down, the blocks that were read
last stay in force, and no handshake waits for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _

from ..nodes.node import Node, Service
from ..protocol.codes import CloseCode
from ..runtime.database import QUIET, own_transaction
from ..runtime.moments import timestamp_of
from ..runtime.tasks import end_tasks

logger = logging.getLogger(__name__)

MAX_BLOCKS = 10_000
"""Blocks in force that a node holds; the newest, where there are more."""

LONGEST_S = 100 * 365.25 * 86_400
"""Longest time that a block may last: for ever, and still a date that every database can hold."""

KEPT_FOR = datetime.timedelta(days=30)
"""How long a block is kept after it is over, for staff to see."""

PATIENCE_S = 2.0
"""How long handshakes wait for the first look into the database."""

_FORGET_INTERVAL_S = 3_600.0
_CLOSED_AT_ONCE = 100

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Row = tuple[str, str, datetime.datetime]


class Blocks(Service):
    """The users and addresses that may not connect to one node for a time."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._rows: list[_Row] = []
        self._table = _Table()
        self._opened = asyncio.Event()
        self._wanted = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._failing = False

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Wait until the blocks in force have been read, or could not be."""
        if self._task is None and not self._stopped:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self._open)
            self._task = loop.create_task(self._read_for_ever(), name="realtime-blocks")
        if not self._opened.is_set():
            await self._opened.wait()

    async def stop(self) -> None:
        """End its task."""
        self._stopped = True
        self._open()
        await end_tasks(self._task)

    def _open(self) -> None:
        self._opened.set()
        if self._patience is not None:
            self._patience.cancel()

    # -- verdicts ----------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether there are no blocks, as far as is known."""
        return not self._rows

    def blocks(self, user_id: str | None, address: str | None) -> bool:
        """Whether this user or address may not connect now."""
        return bool(self._rows) and self._table.holds(user_id, address, self._node.clock.time())

    # -- the database ------------------------------------------------------------------------------

    def reload(self) -> None:
        """The rows have changed: read them at once. Never waits."""
        self._wanted.set()

    async def _read_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        next_forgetting = loop.time()
        while True:
            # Before the look: what changes while the database is read asks for another.
            self._wanted.clear()
            await self._read()
            self._open()
            if not self._failing and loop.time() >= next_forgetting:
                next_forgetting = loop.time() + _FORGET_INTERVAL_S
                await self._forget()
            try:
                async with asyncio.timeout(self._node.config.revocation_poll_interval):
                    await self._wanted.wait()
            except TimeoutError:
                pass  # no message came: read at the interval

    async def _read(self) -> None:
        try:
            rows = await self._node.database.run(_read_rows)
            if rows == self._rows:
                self._failing = False
                return
            table = await self._node.database.run(_read_table, rows)
        except Exception as error:
            if not (self._failing or isinstance(error, QUIET)):
                logger.warning("Cannot read the blocks: %s", type(error).__name__)
            self._failing = True
            return
        self._failing = False
        if len(rows) >= MAX_BLOCKS > len(self._rows):
            logger.warning("There are %d blocks or more; older ones do nothing", MAX_BLOCKS)
        news = table.adds_to(self._table)
        self._rows, self._table = rows, table
        if news:
            await self._end()

    async def _end(self) -> None:
        """Close the connections that are blocked now, some at a time."""
        closed = 0
        for connection in tuple(self._node.connections.values()):
            if connection.closed:
                continue
            if self.blocks(connection.user_id, connection.client_address):
                try:
                    connection.close(CloseCode.BLOCKED, "blocked")
                except Exception:  # the others are to end, and the next block is to be read
                    logger.exception("Connection %s was not closed", connection.id)
                self._node.metrics.blocked += 1
                closed += 1
                if closed % _CLOSED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _forget(self) -> None:
        try:
            await self._node.database.run(_forget_rows)
        except Exception as error:  # they do nothing any more, and are deleted another time
            logger.info("Blocks of the past were not deleted: %s", type(error).__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    """Blocks by what they hold against a connection, each with its end in seconds since the epoch.

    Networks are looked up by their length, so that thousands cost no more than one of each length.
    """

    users: dict[str, float] = dataclasses.field(default_factory=dict)
    addresses: dict[str, float] = dataclasses.field(default_factory=dict)
    networks: dict[tuple[int, int], dict[int, float]] = dataclasses.field(default_factory=dict)
    """By version and host bits: the numbers of the networks."""

    def holds(self, user_id: str | None, address: str | None, now: float) -> bool:
        if user_id is not None and self.users.get(user_id, 0.0) > now:
            return True
        if address is None:
            return False
        return self.addresses.get(address, 0.0) > now or (
            bool(self.networks) and self._holds_network_of(address, now)
        )

    def _holds_network_of(self, address: str, now: float) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False  # no address of the Internet: a test's, or a socket's path
        number = int(parsed)
        return any(
            numbers.get(number >> bits, 0.0) > now
            for (version, bits), numbers in self.networks.items()
            if version == parsed.version
        )

    def adds_to(self, former: _Table) -> bool:
        """Whether it holds more, or for longer, than the former one."""
        pairs = [(self.users, former.users), (self.addresses, former.addresses)]
        return any(_adds(new, old) for new, old in pairs) or any(
            _adds(numbers, former.networks.get(kind, {})) for kind, numbers in self.networks.items()
        )


def _adds(new: Mapping[Any, float], old: Mapping[Any, float]) -> bool:
    return any(until > old.get(key, 0.0) for key, until in new.items())


def _keep(entries: dict[Any, float], key: Any, until: float) -> None:
    entries[key] = max(until, entries.get(key, 0.0))


def reload(node: Node, arguments: dict[str, Any]) -> None:
    """Read the blocks at once: another process has changed them."""
    node.service(Blocks).reload()


# -- in the database's thread -------------------------------------------------------------------------
# The model by name: this module is imported by a site's asgi.py, before the apps are loaded.


def _records() -> Any:
    return apps.get_model("channels_realtime", "BlockRecord")._default_manager


def _read_rows() -> list[_Row]:
    rows = _records().filter(until__gt=timezone.now()).order_by("-pk")
    return list(rows.values_list("user_pk", "address", "until")[:MAX_BLOCKS])


def _read_table(rows: Iterable[_Row]) -> _Table:
    table = _Table()
    for user_pk, address, moment in rows:
        until = timestamp_of(moment)
        if user_pk:
            _keep(table.users, user_pk, until)
        if not address:
            continue
        try:
            network = _network(address)
        except ValueError:
            logger.warning("A block has the invalid address %r and has no effect", address)
            continue
        bits = network.max_prefixlen - network.prefixlen
        if bits:
            numbers = table.networks.setdefault((network.version, bits), {})
            _keep(numbers, int(network.network_address) >> bits, until)
        else:
            _keep(table.addresses, str(network.network_address), until)
    return table


def _forget_rows() -> None:
    past = _records().filter(until__lt=timezone.now() - KEPT_FOR)
    if past.exists():  # a look takes no lock where the database has one writer
        with own_transaction(router.db_for_write(past.model)):
            past.delete()


# -- making one ------------------------------------------------------------------------------------


def add_block(
    *,
    user_pk: str = "",
    user_label: str = "",
    address: str = "",
    seconds: float,
    reason: str = "",
    created_by: str = "",
) -> Any:
    """Write a block of a user or of an address, from now on. The caller notifies the nodes.

    Args:
        user_pk: the user's primary key as text.
        user_label: its name, for staff to read.
        address: an address or a network.
        seconds: how long, greater than 0.
        reason: for staff.
        created_by: who did it, for staff.

    Returns:
        the ``BlockRecord``.

    Raises:
        ValidationError: neither or both are given, the address is none, or a value is out of range.
    """
    user_pk, address = user_pk.strip(), address.strip()
    check_target(user_pk, address)
    if not 0 < seconds <= LONGEST_S:  # and not NaN
        raise ValidationError(_("A block must last longer than 0 seconds and at most 100 years."))
    model = apps.get_model("channels_realtime", "BlockRecord")
    record = model(
        user_pk=user_pk,
        user_label=user_label[:255],
        address=normalise_address(address) if address else "",
        until=timezone.now() + datetime.timedelta(seconds=seconds),
        reason=reason,
        created_by=created_by[:255],
    )
    record.full_clean()
    record.save(force_insert=True)
    return record


def check_target(user_pk: str, address: str) -> None:
    """Raise ValidationError unless exactly one of the two is given."""
    if not user_pk and not address:
        raise ValidationError(_("Enter a user id or an address."))
    if user_pk and address:
        raise ValidationError(_("Enter either a user id or an address. For both, add two blocks."))


def normalise_address(text: str) -> str:
    """An address or a network as the nodes compare it: ``192.0.2.7``, ``2001:db8::/64``.

    Host bits are cut off, and IPv4 addresses that are written as IPv6 become what they are.

    Raises:
        ValidationError: it is neither, or it is all there are.
    """
    try:
        network = _network(text.strip())
    except ValueError:
        message = _(
            "%(value)s is neither an address nor a network;"
            " write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64."
        )
        raise ValidationError(message % {"value": repr(text[:60])}) from None
    if network.prefixlen == 0:
        raise ValidationError(_("This network contains every address."))
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address if whole else network)


_MAPPED = 96
"""Bits before the IPv4 address in ``::ffff:192.0.2.1``."""


def _network(text: str) -> _Network:
    if "%" in text:
        raise ValueError("a zone is a machine's own")
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED))
    return network
