"""What is measured: each row has a load, candidates, and the figures that its table shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.benchmarks import sync_publish
from tests.benchmarks.performance.measure import (
    PLAIN_WIRE,
    SOCKET_IO_WIRE,
    Bench,
    Candidate,
    Figures,
    realtime_wire,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a run.

    Args:
        key: in what the load generator prints.
        heading: of its column, with the unit.
        digits: after the decimal point.
        more_is_better: whether the ratio says how many times as much; otherwise how many times less.
    """

    key: str
    heading: str
    digits: int = 0
    more_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the first candidate of a comparison must reach.

    Args:
        candidate, reference: names of candidates.
        at_least: how many times as good as the reference.
        at_most_more: alternatively, by how much it may exceed the reference.
    """

    candidate: str
    reference: str
    figure: str
    at_least: float | None = None
    at_most_more: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement of several candidates.

    Args:
        load: options of the load generator.
        quick: those that differ in the smoke test.
        ask: whether clients send pings in place of publications.
        login: whether connections carry a session's cookie.
        most_rounds: a limit for rows that take minutes.
        short: its title in the plot and the summary.
        in_plot: whether the plot has it.
        run: measures a candidate in another way than with the load generator.
    """

    name: str
    title: str
    server: str = ""
    candidates: Sequence[Candidate]
    load: Mapping[str, object]
    figures: Sequence[Figure]
    goals: Sequence[Goal] = ()
    quick: Mapping[str, object] = field(default_factory=dict)
    ask: bool = False
    login: bool = False
    most_rounds: int = 100
    short: str = ""
    in_plot: bool = False
    run: Callable[[Bench, Candidate, Mapping[str, object]], Figures] | None = None

    def server_time(self) -> Figure | None:
        """Its figure of the server's processor time, if it has one."""
        return next((each for each in self.figures if each.heading.startswith("µs")), None)


OURS = Candidate(name="ours", label="channels-realtime", kind="ours", wire=realtime_wire("bench"))
LANE = replace(OURS, name="lane", label="channels-realtime, frames made once", lane=True)
UVLOOP = replace(
    OURS, name="uvloop", label="channels-realtime, on uvloop and httptools", uvloop=True
)
ASYNC = replace(
    OURS, name="async", label="channels-realtime, async hooks", wire=realtime_wire("async")
)
PLAIN = Candidate(name="plain", label="plain Channels", kind="plain", wire=PLAIN_WIRE)
HUB = Candidate(name="hub", label="bare ASGI hub", kind="raw", wire=PLAIN_WIRE)
PINGING_HUB = replace(
    HUB,
    name="pinging",
    label="bare ASGI hub, with the same heartbeat",
    wire=replace(PLAIN_WIRE, answers=('{"type":"ping"}={"type":"pong"}',)),
    ping=25,
)
NODE = Candidate(name="node", label="Node socket.io", kind="node", wire=SOCKET_IO_WIRE)


def on(layer: str, *candidates: Candidate) -> tuple[Candidate, ...]:
    return tuple(replace(candidate, layer=layer) for candidate in candidates)


DELIVERIES = (
    Figure(key="per_s", heading="deliveries/s"),
    Figure(key="us", heading="µs each", digits=1, more_is_better=False),
    Figure(key="p99_ms", heading="p99 ms", digits=1, more_is_better=False),
)
MESSAGES = (
    Figure(key="per_s", heading="messages/s"),
    Figure(key="us", heading="µs each", digits=1, more_is_better=False),
    Figure(key="p50_ms", heading="p50 ms", digits=1, more_is_better=False),
    Figure(key="lost_percent", heading="lost %", digits=1, more_is_better=False),
)
CONNECTS = (
    Figure(key="connects_per_s", heading="connects/s"),
    Figure(key="connect_us", heading="µs each", more_is_better=False),
    Figure(key="kib", heading="KiB each", digits=1, more_is_better=False),
)
PINGS = (
    Figure(key="per_s", heading="pings/s"),
    Figure(key="us", heading="µs each", digits=1, more_is_better=False),
)
IDLE = (
    Figure(key="idle_percent", heading="% of a core", digits=2, more_is_better=False),
    Figure(key="kib", heading="KiB each", digits=1, more_is_better=False),
)
LOSS = (
    Figure(key="lost_percent", heading="lost %", digits=1, more_is_better=False),
    Figure(key="us", heading="µs a delivery", digits=1, more_is_better=False),
    Figure(key="p99_ms", heading="p99 ms", digits=1, more_is_better=False),
)

SECONDS = 3
SETTLE_S = 0.3
NAMES = {"uvicorn": "uvicorn", "daphne": "Daphne"}


def _ours(server: str) -> tuple[Candidate, ...]:
    return (OURS, UVLOOP) if server == "uvicorn" else (OURS,)


def fan_out(server: str, subscribers: int, *goals: Goal) -> Row:
    return Row(
        name=f"fan-out-{subscribers}-{server}",
        title=f"Fan-out to {subscribers:,} subscribers, {NAMES[server]}",
        server=server,
        candidates=(*_ours(server), LANE, PLAIN, HUB, *((NODE,) if server == "uvicorn" else ())),
        short=f"Fan-out to {subscribers:,}, {NAMES[server]}",
        in_plot=True,
        load={
            "connections": subscribers,
            "publications": 100_000,
            "seconds": SECONDS,
            "settle": SETTLE_S,
            "warm_up": 3,
            "timeout": 20,  # plain Channels takes seconds for 5,000
        },
        figures=DELIVERIES,
        goals=goals,
    )


def publish(server: str, candidates: Sequence[Candidate], *goals: Goal, suffix: str = "") -> Row:
    layer = {"": "", "-core": ", Redis core layer", "-memory": ", in-memory layer"}[suffix]
    return Row(
        name=f"publish{suffix}-{server}",
        title=f"Clients publish to 1,000 channels of one subscriber each, {NAMES[server]}{layer}",
        server=server,
        candidates=candidates,
        load={
            "connections": 1_000,
            "channels": 1_000,
            "publishers": 64,
            "window": 128,
            "warm_up": 500,
            "publications": 1_000_000,
            "seconds": SECONDS,
            "settle": SETTLE_S,
        },
        quick={"publishers": 1, "warm_up": 2},
        short=f"Publish, 1,000 channels, {NAMES[server]}{layer}",
        in_plot=not suffix,
        figures=MESSAGES,
        goals=goals,
    )


def connect(server: str, channels: int, *goals: Goal, login: bool = False) -> Row:
    where = "to one channel" if channels == 1 else "each to a channel of its own"
    short = "one channel" if channels == 1 else "a channel each"
    short += ", login session" if login else ""
    return Row(
        name=f"connect-{'one' if channels == 1 else 'own'}{'-login' if login else ''}-{server}",
        title=f"Connect{' with a login session' if login else ''} and subscribe, {where}, {NAMES[server]}",
        server=server,
        candidates=(
            *(*_ours(server), PLAIN, HUB),
            *((NODE,) if server == "uvicorn" and not login else ()),
        ),
        load={"connections": 2_000, "channels": channels},
        figures=CONNECTS,
        goals=goals,
        login=login,
        short=f"Connect, {short}, {NAMES[server]}",
        in_plot=not login,
    )


def echo(server: str, *goals: Goal) -> Row:
    return Row(
        name=f"echo-{server}",
        title=f"Ping to pong, 100 connections, {NAMES[server]}",
        server=server,
        candidates=(*_ours(server), PLAIN, HUB, *((NODE,) if server == "uvicorn" else ())),
        load={"connections": 100, "seconds": SECONDS, "settle": SETTLE_S},
        figures=PINGS,
        goals=goals,
        ask=True,
        short=f"Ping to pong, {NAMES[server]}",
        in_plot=True,
    )


def publish_from_a_thread(on: Bench, candidate: Candidate, load: Mapping[str, object]) -> Figures:
    """As ``sync_publish`` does it; both candidates are processes that serve nothing."""
    way = "publish()" if candidate.kind == "ours" else "async_to_sync(group_send)"
    with sync_publish.listener(on.redis_url):
        rate, us, _ = sync_publish.in_process(
            way, "pubsub", on.redis_url, float(str(load["seconds"])), 1
        )
    return {"per_s": rate, "us": us}


ROWS: tuple[Row, ...] = (
    fan_out(
        "uvicorn",
        1_000,
        Goal(candidate="ours", reference="hub", figure="per_s", at_least=0.90),
        Goal(candidate="ours", reference="plain", figure="per_s", at_least=22),
        Goal(candidate="ours", reference="node", figure="per_s", at_least=0.95),
        Goal(candidate="lane", reference="node", figure="per_s", at_least=1.3),
    ),
    fan_out(
        "uvicorn",
        5_000,
        Goal(candidate="ours", reference="hub", figure="per_s", at_least=0.90),
        Goal(candidate="ours", reference="plain", figure="per_s", at_least=22),
        Goal(candidate="ours", reference="node", figure="per_s", at_least=0.95),
        Goal(candidate="lane", reference="node", figure="per_s", at_least=1.3),
    ),
    fan_out(
        "daphne",
        1_000,
        Goal(candidate="ours", reference="hub", figure="per_s", at_least=0.90),
        Goal(candidate="lane", reference="plain", figure="per_s", at_least=30),
    ),
    fan_out(
        "daphne", 5_000, Goal(candidate="lane", reference="plain", figure="per_s", at_least=40)
    ),
    publish(
        "uvicorn",
        (OURS, UVLOOP, ASYNC, PLAIN, HUB, NODE),
        Goal(candidate="ours", reference="plain", figure="per_s", at_least=3),
    ),
    publish("uvicorn", on("core", OURS, PLAIN), suffix="-core"),
    publish(
        "uvicorn",
        (
            *on("memory", OURS),
            replace(OURS, name="redis", label="channels-realtime, Redis pub/sub layer"),
            *on("memory", PLAIN),
        ),
        Goal(candidate="ours", reference="redis", figure="per_s", at_least=1.5),
        suffix="-memory",
    ),
    publish("daphne", (OURS, LANE, PLAIN, HUB)),
    echo("uvicorn", Goal(candidate="ours", reference="hub", figure="per_s", at_least=0.75)),
    echo("daphne", Goal(candidate="ours", reference="hub", figure="per_s", at_least=0.75)),
    connect(
        "uvicorn",
        1,
        Goal(candidate="ours", reference="plain", figure="connects_per_s", at_least=2),
        Goal(candidate="ours", reference="hub", figure="kib", at_most_more=4),
    ),
    connect(
        "uvicorn",
        2_000,
        Goal(candidate="ours", reference="plain", figure="connects_per_s", at_least=1.7),
    ),
    connect("uvicorn", 1, login=True),
    connect("daphne", 1),
    connect("daphne", 2_000),
    Row(
        name="history-uvicorn",
        title="Fan-out to 1,000 subscribers with a history, uvicorn",
        short="Fan-out to 1,000 with a history, uvicorn",
        server="uvicorn",
        candidates=(
            replace(OURS, wire=realtime_wire("kept")),
            replace(OURS, name="off", label="channels-realtime, without a history"),
        ),
        load={
            "connections": 1_000,
            "publications": 100_000,
            "seconds": SECONDS,
            "settle": SETTLE_S,
        },
        figures=DELIVERIES,
        goals=(Goal(candidate="ours", reference="off", figure="per_s", at_least=0.9),),
    ),
    Row(
        name="burst-uvicorn",
        title="1,000 publications a second to 100 subscribers, Redis core layer, uvicorn",
        short="Burst of 1,000/s to 100, Redis core layer, uvicorn",
        server="uvicorn",
        candidates=(*on("core", OURS, PLAIN), HUB),
        load={
            "connections": 100,
            "publications": 3_000,
            "rate": 1_000,
            "seconds": 60,
            "publishers": 10,
        },
        quick={"publications": 20, "publishers": 1},
        figures=LOSS,
    ),
    Row(
        name="idle-uvicorn",
        title="10,000 idle connections, a minute after they came, uvicorn",
        short="10,000 idle connections, uvicorn",
        server="uvicorn",
        candidates=(OURS, HUB, PINGING_HUB),
        load={"connections": 10_000, "settle": 60, "idle": 60},
        quick={"settle": 0, "idle": 0.1},
        figures=IDLE,
        goals=(
            Goal(candidate="ours", reference="hub", figure="idle_percent", at_most_more=1),
            Goal(candidate="ours", reference="pinging", figure="idle_percent", at_most_more=1),
        ),
        most_rounds=1,
    ),
    Row(
        name="sync-publish",
        title="publish() from a thread of a process that serves nothing",
        short="publish() from a thread",
        candidates=(
            OURS,
            replace(PLAIN, label="async_to_sync(channel_layer.group_send)"),
        ),
        load={"seconds": 1.5},
        figures=(
            Figure(key="per_s", heading="publications/s"),
            Figure(key="us", heading="µs each", digits=0, more_is_better=False),
        ),
        goals=(Goal(candidate="ours", reference="plain", figure="per_s", at_least=10),),
        run=publish_from_a_thread,
    ),
)
