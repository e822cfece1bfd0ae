"""Whose address it is, through proxies that may be believed and no others."""

from __future__ import annotations

import pytest

from channels_realtime.access.client_address import find_address
from channels_realtime.config import Config

PROXY = "10.0.0.1"
PROXIES = ("10.0.0.0/8", "fd00::/8")
CLIENT = "203.0.113.7"


def address(
    *values: str,
    header: str | None = "X-Forwarded-For",
    peer: str | None = PROXY,
    proxies: tuple[str, ...] = PROXIES,
) -> str | None:
    """The client's address when ``peer`` connects and sends this header so many times."""
    name = (header or "X-Forwarded-For").lower().encode()
    scope = {
        "client": None if peer is None else (peer, 50_000),
        "headers": [(name, value.encode("latin-1")) for value in values],
    }
    config = Config(trusted_proxies=proxies, client_address_header=header)
    return find_address(scope, config).text


# -- who may speak for others ----------------------------------------------------------------------


def test_peer_is_the_client_without_trusted_proxies():
    assert address(CLIENT, peer="198.51.100.1", proxies=()) == "198.51.100.1"


def test_peer_is_the_client_without_a_header_setting():
    assert address(CLIENT, header=None) == PROXY


def test_header_of_a_peer_that_is_no_proxy_is_not_believed():
    assert address(CLIENT, peer="198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "X-Forwarded-For"])
def test_other_headers_than_the_configured_one_are_not_believed(name):
    others = {"Forwarded", "X-Real-IP", "X-Forwarded-For"} - {name}
    for other in others:
        scope = {"client": (PROXY, 1), "headers": [(other.lower().encode(), CLIENT.encode())]}
        config = Config(trusted_proxies=PROXIES, client_address_header=name)
        assert find_address(scope, config).text == PROXY


def test_header_is_believed_on_a_unix_socket_where_proxies_are_trusted():
    assert address(CLIENT, peer=None) == CLIENT
    assert address(CLIENT, peer=None, proxies=()) is None


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_proxy_that_says_nothing_is_the_client(header):
    assert address(header=header) == PROXY


# -- X-Forwarded-For -------------------------------------------------------------------------------

FORWARDED_FOR = {
    "one": ([CLIENT], CLIENT),
    "spoofed on the left": ([f"1.1.1.1, {CLIENT}"], CLIENT),
    "spoofed as a proxy": ([f"10.9.9.9, {CLIENT}"], CLIENT),
    "through two proxies": ([f"1.1.1.1, {CLIENT}, 10.0.0.2"], CLIENT),
    "through proxies of two families": ([f"{CLIENT}, fd00::2"], CLIENT),
    "several headers, in their order": (["1.1.1.1", f"2.2.2.2, {CLIENT}"], CLIENT),
    "several headers, the last a proxy's": ([f"1.1.1.1, {CLIENT}", "10.0.0.2"], CLIENT),
    "all of them proxies": (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    "with a port": ([f"{CLIENT}:4711"], CLIENT),
    "without spaces": ([f"1.1.1.1,{CLIENT},10.0.0.2"], CLIENT),
    "IPv6": (["2001:db8::1"], "2001:db8::1"),
    "IPv6 in brackets": (["[2001:db8::1]"], "2001:db8::1"),
    "IPv6 with a port": (["[2001:db8::1]:4711"], "2001:db8::1"),
    "IPv6 in full": (["2001:0db8:0000:0000:0000:0000:0000:0001"], "2001:db8::1"),
    "IPv4 in IPv6": ([f"::ffff:{CLIENT}"], CLIENT),
    "a proxy, IPv4 in IPv6": ([f"{CLIENT}, ::ffff:10.0.0.2"], CLIENT),
    "unknown": (["unknown"], PROXY),
    "unknown behind a proxy": ([f"{CLIENT}, unknown, 10.0.0.2"], "10.0.0.2"),
    "empty": ([""], PROXY),
    "a comma at the end": ([f"{CLIENT},"], PROXY),
    "rubbish": (["<script>"], PROXY),
    "rubbish on the left": ([f"<script>, {CLIENT}"], CLIENT),
    "a name": (["localhost"], PROXY),
    "not ASCII": (["\xb2\xb2.1.1.1"], PROXY),
    "leading zeros, which some read as octal": (["010.0.0.1"], PROXY),
    "one number": (["1"], PROXY),
    "a network": (["203.0.113.0/24"], PROXY),
    "very long": (["1.1.1.1, " * 5_000 + CLIENT], CLIENT),
}


@pytest.mark.parametrize("name", FORWARDED_FOR)
def test_x_forwarded_for(name):
    values, expected = FORWARDED_FOR[name]
    assert address(*values) == expected


# -- Forwarded (RFC 7239) --------------------------------------------------------------------------

FORWARDED = {
    "one": ([f"for={CLIENT}"], CLIENT),
    "quoted": ([f'for="{CLIENT}"'], CLIENT),
    "quoted with a port": ([f'for="{CLIENT}:4711"'], CLIENT),
    "IPv6": (['for="[2001:db8::1]"'], "2001:db8::1"),
    "IPv6 with a port": (['for="[2001:db8::1]:4711"'], "2001:db8::1"),
    "the parameter in another case": ([f"For={CLIENT};Proto=https"], CLIENT),
    "after others": ([f"proto=https;by=10.0.0.2;for={CLIENT}"], CLIENT),
    "before others": ([f"for={CLIENT};by=10.0.0.2"], CLIENT),
    "spoofed on the left": ([f"for=1.1.1.1, for={CLIENT}"], CLIENT),
    "several headers": (["for=1.1.1.1", f"for={CLIENT}, for=10.0.0.2"], CLIENT),
    "unknown": (["for=unknown"], PROXY),
    "obfuscated": (["for=_hidden"], PROXY),
    "obfuscated behind a proxy": ([f"for={CLIENT}, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
    "without for": (["proto=https;by=10.0.0.2"], PROXY),
    "not by another name": ([f"xfor={CLIENT}"], PROXY),
    "empty": ([""], PROXY),
    # What a client wrote stands in the proxy's own element: the host it asked for.
    "spoofed by the host, with a comma": ([f'for={CLIENT};host="a, for=6.6.6.6"'], CLIENT),
    "spoofed by the host, with a semicolon": ([f'host="a;for=6.6.6.6";for={CLIENT}'], CLIENT),
    "spoofed by the host, escaped": ([f'for={CLIENT};host="a\\", for=6.6.6.6"'], CLIENT),
    "a backslash at the end of the host": ([f'for={CLIENT};host="a\\\\", for=10.0.0.2'], CLIENT),
    "nothing but quotes": (['"' * 60_000], PROXY),
    "spoofed by a quote left open": ([f'for="1.1.1.1, for={CLIENT}'], CLIENT),
    "spoofed by a quote left open, in a header of its own": (['for="', f"for={CLIENT}"], CLIENT),
}


@pytest.mark.parametrize("name", FORWARDED)
def test_forwarded(name):
    values, expected = FORWARDED[name]
    assert address(*values, header="Forwarded") == expected


# -- X-Real-IP -------------------------------------------------------------------------------------

REAL_IP = {
    "one": ([CLIENT], CLIENT),
    "IPv6": (["2001:db8::1"], "2001:db8::1"),
    "rubbish": (["unknown"], PROXY),
    "twice: the proxy's own is the last": (["1.1.1.1", CLIENT], CLIENT),
}


@pytest.mark.parametrize("name", REAL_IP)
def test_x_real_ip(name):
    values, expected = REAL_IP[name]
    assert address(*values, header="X-Real-IP") == expected


# -- peers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (f"::ffff:{CLIENT}", CLIENT),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", None),
        ("testclient", None),
    ],
)
def test_peer(peer, expected):
    assert address(peer=peer, proxies=()) == expected


def test_peer_may_be_a_trusted_proxy_by_its_mapped_address():
    assert address(CLIENT, peer="::ffff:10.0.0.1") == CLIENT


# -- single-value headers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["CF-Connecting-IP", "True-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP", "X-CLIENT"],
)
def test_any_header_of_a_trusted_peer_is_believed(header):
    assert address(CLIENT, header=header) == CLIENT
    assert address("2001:db8::7", header=header) == "2001:db8::7"
    assert address(f"{CLIENT}:4711", header=header) == CLIENT
    assert address("rubbish", header=header) == PROXY
    assert address(CLIENT, header=header, peer="198.51.100.1") == "198.51.100.1"
    assert address(CLIENT, header=header, proxies=()) == PROXY


@pytest.mark.parametrize("header", ["forwarded", "FORWARDED"])
def test_header_forwarded_is_read_as_such_whatever_its_case(header):
    assert address(f"for={CLIENT};proto=https", header=header) == CLIENT


# -- whether it is a proxy's -----------------------------------------------------------------------


def found(
    peer: str | None,
    *headers: tuple[bytes, bytes],
    port: int = 50_000,
    proxies: tuple[str, ...] = (),
    header: str | None = None,
):
    scope = {"client": None if peer is None else [peer, port], "headers": headers}
    return find_address(scope, Config(trusted_proxies=proxies, client_address_header=header))


FOR = (b"x-forwarded-for", CLIENT.encode())


@pytest.mark.parametrize(
    "peer",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "172.17.0.1",
        "192.168.1.1",
        "100.64.0.9",
        "169.254.1.1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ],
)
def test_peer_inside_that_forwards_is_a_proxy_where_none_is_named(peer):
    assert found(peer, FOR)[1:] == (True, "X-Forwarded-For")
    assert found(peer)[1:] == (False, None)


@pytest.mark.parametrize(
    "name",
    [
        b"Forwarded",
        b"Via",
        b"X-Real-IP",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"CF-Connecting-IP",
        b"True-Client-IP",
        b"Fly-Client-IP",
    ],
)
def test_peer_inside_is_a_proxy_by_any_header_that_proxies_add(name):
    assert found("10.0.0.1", (name, b"x")).of_proxy
    assert not found("10.0.0.1", (b"user-agent", b"x")).of_proxy


@pytest.mark.parametrize("peer", [CLIENT, "198.51.100.1", "8.8.8.8", "2001:db8::1", "172.32.0.1"])
def test_peer_outside_is_a_client_whatever_it_sends(peer):
    assert found(peer, FOR) == (peer, False, None)


def test_peer_that_is_not_among_the_named_proxies_is_a_client():
    assert found("192.168.1.1", FOR, proxies=PROXIES, header="X-Forwarded-For")[1:] == (False, None)


def test_named_proxy_that_does_not_say_its_client_is_no_client():
    assert found(PROXY, proxies=PROXIES) == (PROXY, True, None)
    assert found(PROXY, FOR, proxies=PROXIES) == (PROXY, True, None)
    unknown = (b"x-forwarded-for", b"unknown")
    assert found(PROXY, unknown, proxies=PROXIES, header="X-Forwarded-For") == (PROXY, True, None)


def test_client_that_a_named_proxy_says_is_a_client_wherever_it_is():
    inside = (b"x-forwarded-for", b"10.9.9.9")
    assert found(PROXY, inside, proxies=PROXIES, header="X-Forwarded-For")[:2] == (
        "10.9.9.9",
        False,
    )


def test_client_that_the_server_found_itself_is_a_client():
    """uvicorn replaces the peer by what a proxy's header says, without a port."""
    inside = (b"x-forwarded-for", b"192.168.1.50")
    assert found("192.168.1.50", inside, port=0) == ("192.168.1.50", False, None)
    assert found("192.168.1.50", inside).of_proxy  # a client claims to be the proxy
    assert found("192.168.1.50", FOR, port=0).of_proxy


def test_proxy_that_the_server_took_for_the_client_is_a_proxy():
    """uvicorn trusts the proxy beside it, and not the load balancer in front of that."""
    hops = (b"x-forwarded-for", f"{CLIENT}, 10.0.0.5".encode())
    assert found("10.0.0.5", hops, port=0) == ("10.0.0.5", True, "X-Forwarded-For")


def test_peer_without_an_address_is_no_client():
    assert found(None, FOR) == (None, False, None)
