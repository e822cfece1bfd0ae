"""Commands and answers as Redis writes them, in RESP 2 and 3."""

import asyncio

import pytest

from channels_realtime.runtime.redis_connection import RedisConnection, ResponseError, pack

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n\x00\xff\r\n"

ANSWERS = [
    (b":12\r\n", 12),
    (b"+OK\r\n", b"OK"),
    (b"$-1\r\n", None),
    (b"_\r\n", None),
    (b"$0\r\n\r\n", b""),
    (MESSAGE, [b"message", b"c", b"\r\n\x00\xff"]),
    (b">" + MESSAGE[1:], (b"message", b"c", b"\r\n\x00\xff")),
    (b"*-1\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n+x\r\n", [[1], b"x"]),
    (b"%1\r\n+a\r\n:1\r\n", [b"a", 1]),
    (b"=7\r\ntxt:abc\r\n", b"txt:abc"),
]


class Streams:
    """The protocol that redis-py had."""

    def __init__(self):
        self.ended = False

    def connection_lost(self, error):
        self.ended = True

    def eof_received(self):
        return True  # as asyncio's, which keeps a connection half open


class Transport:
    def __init__(self):
        self.aborted = False
        self.streams = Streams()
        self.protocol = None

    def get_protocol(self):
        return self.streams

    def set_protocol(self, protocol):
        self.protocol = protocol

    def is_closing(self):
        return False

    def abort(self):
        self.aborted = True


class Client:
    """As far as it is looked into: a connection of redis-py."""

    def __init__(self):
        self._writer = type("Writer", (), {"transport": Transport()})()


def connected():
    received, ended = [], []
    connection = RedisConnection(received.append, lambda: ended.append(True))
    client = Client()
    connection.take_over(client)
    return connection, client._writer.transport, received, ended


def test_command_is_packed_as_bulk_strings():
    assert pack(b"PUBLISH", b"c", b"\r\n") == b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$2\r\n\r\n\r\n"


@pytest.mark.parametrize(("data", "expected"), ANSWERS)
def test_answer_is_read_however_it_is_cut(data, expected):
    for cut in range(len(data)):
        connection, _, received, _ = connected()
        connection.data_received(data[:cut])
        assert received == []
        connection.data_received(data[cut:] + data)
        assert received == [expected, expected]


@pytest.mark.parametrize("data", [b"-NOPERM no\r\n", b"!9\r\nNOPERM no\r\n"])
def test_error_is_an_answer(data):
    connection, _, received, _ = connected()
    connection.data_received(data)
    (error,) = received
    assert isinstance(error, ResponseError)
    assert str(error) == "NOPERM no"


def test_connection_that_sends_something_else_is_ended():
    connection, transport, received, _ = connected()
    connection.data_received(b"*x\r\n")
    assert (transport.aborted, received) == (True, [])


def test_end_is_told_to_its_owner_and_to_redis_py():
    connection, transport, _, ended = connected()
    connection.connection_lost(None)
    assert (ended, transport.streams.ended) == ([True], True)
    connection.abort()
    connection.pause()
    connection.resume()
    assert not transport.aborted


def test_connection_that_the_server_closes_is_not_kept_half_open():
    connection, *_ = connected()
    assert not connection.eof_received()


async def test_ended_connection_is_not_taken_over():
    connection = RedisConnection(lambda answer: None, lambda: None)
    client = Client()
    client._writer.transport.is_closing = lambda: True
    with pytest.raises(ConnectionError, match="the connection was closed"):
        connection.take_over(client)
    await asyncio.sleep(0)
