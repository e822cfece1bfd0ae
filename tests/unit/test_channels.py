"""Channel classes and the routes to them."""

from __future__ import annotations

import re
import uuid
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db.models import CharField, EmailField, UUIDField
from django.utils.functional import SimpleLazyObject
from rest_framework_simplejwt.models import TokenUser

from channels_realtime import Channel, History, action, channels, register, user_keys
from channels_realtime.channels import (
    HOOKS,
    ChannelRegistry,
    UserChannel,
    registry,
    user_channel_name,
)
from channels_realtime.errors import BadChannel, BadPayload, ImproperUse, UnknownChannel
from channels_realtime.identity import ANONYMOUS, Identity
from channels_realtime.protocol.selection import ALL, selection_of
from channels_realtime.user_keys import user_key


class Client:
    """What a hook sees of a connection."""

    id = "c1"
    scope: dict = {}
    transport = "websocket"
    user = None

    def __init__(self, user_id: str | None = None) -> None:
        self.identity = (
            ANONYMOUS if user_id is None else Identity(user_id=user_id, method="session")
        )
        self.user_id = user_id


class Orders(Channel):
    pass


class Anybody(Channel):
    pass


@pytest.fixture
def routes() -> ChannelRegistry:
    routes = ChannelRegistry()
    routes.register("orders/<int:order_id>", Orders)
    return routes


# -- routes ----------------------------------------------------------------------------------------


def test_channel_is_found_by_its_name(routes):
    channel = routes.resolve("orders/42", {"a": 1})
    assert type(channel) is Orders
    assert (channel.name, channel.kwargs, channel.parameters) == (
        "orders/42",
        {"order_id": 42},
        {"a": 1},
    )
    assert repr(channel) == "<Orders 'orders/42'>"


def test_channel_is_made_anew_for_each_request(routes):
    assert routes.resolve("orders/42") is not routes.resolve("orders/42")


@pytest.mark.parametrize("name", ["orders/x", "orders/", "orders/1/2", "nope", "ORDERS/1"])
def test_channel_is_unknown_when_no_route_matches(routes, name):
    with pytest.raises(UnknownChannel, match=r"^no such channel$"):
        routes.resolve(name)


@pytest.mark.parametrize("name", ["", "orders/42\n", "orders/ 42", "orders/٣", "x" * 201, None, 7])
def test_channel_is_bad_when_its_name_breaks_the_grammar(routes, name):
    with pytest.raises(BadChannel):
        routes.resolve(name)


def test_first_registered_route_wins(routes):
    class All(Channel):
        pass

    routes.register("<path:rest>", All)
    assert type(routes.resolve("orders/42")) is Orders
    assert type(routes.resolve("orders/x")) is All


def test_route_can_be_taken_back(routes):
    routes.unregister("orders/<int:order_id>")
    with pytest.raises(UnknownChannel):
        routes.resolve("orders/42")
    with pytest.raises(KeyError):
        routes.unregister("orders/<int:order_id>")


def test_name_that_was_asked_for_before_follows_the_routes(routes):
    with pytest.raises(UnknownChannel):
        routes.resolve("rooms/1")
    routes.register("rooms/<int:room_id>", Orders)
    assert type(routes.resolve("rooms/1")) is Orders
    routes.unregister("rooms/<int:room_id>")
    with pytest.raises(UnknownChannel):
        routes.resolve("rooms/1")


def test_converter_is_asked_each_time_and_may_change_its_mind(monkeypatch):
    class Known:
        regex = "[a-z]+"
        names = {"ann"}

        def to_python(self, value):
            if value not in self.names:
                raise ValueError
            return [value]

    converters = {**channels.get_converters(), "known": Known()}
    monkeypatch.setattr(channels, "get_converters", lambda: converters)
    routes = ChannelRegistry()
    routes.register("of/<known:name>", Orders)
    routes.register("of/<str:name>", Anybody)
    first, second = routes.resolve("of/ann"), routes.resolve("of/ann")
    assert first.kwargs == {"name": ["ann"]}
    assert first.kwargs["name"] is not second.kwargs["name"]
    Known.names = set()
    assert type(routes.resolve("of/ann")) is Anybody


def test_registry_lists_its_routes(routes):
    assert list(routes) == [("orders/<int:order_id>", Orders)]


def test_same_class_may_be_registered_again_as_a_reload_does(routes):
    def reload():
        return type("Orders", (Channel,), {"__module__": __name__, "__qualname__": "Orders"})

    again = reload()
    routes.register("orders/<int:order_id>", again)
    assert type(routes.resolve("orders/1")) is again


@pytest.mark.parametrize(
    ("module", "name"), [(__name__, "Other"), ("another_app.realtime", "Orders")]
)
def test_route_is_refused_when_another_class_has_it(routes, module, name):
    other = type(name, (Channel,), {"__module__": module, "__qualname__": name})
    with pytest.raises(ImproperUse) as caught:
        routes.register("orders/<int:order_id>", other)
    assert caught.value.reason == (
        f"channel route 'orders/<int:order_id>' is taken by {__name__}.Orders"
    )


@pytest.mark.parametrize("pattern", ["users/", "users/<str:x>", "users/admin"])
def test_route_is_refused_when_it_is_the_users_own(routes, pattern):
    with pytest.raises(
        ImproperUse, match=re.escape(f"channel route {pattern!r}: 'users/' is reserved")
    ):
        routes.register(pattern, Orders)


def test_users_own_channels_may_have_a_class_of_the_site(routes):
    class Inbox(UserChannel):
        history = History()
        inbox = True

    class Another(UserChannel):
        pass

    routes.register("users/<user_id>", Inbox)
    channel = routes.resolve("users/j=C3=BCrgen")
    assert type(channel) is Inbox
    assert channel.inbox_users() == ("jürgen",)
    assert type(channel)(user_channel_name("x" * 200), {"user_id": "=FF0"}).inbox_users() == ()
    assert next(iter(routes)) == ("users/<user_id>", Inbox)
    with pytest.raises(ImproperUse, match="'users/<user_id>' is taken by"):
        routes.register("users/<user_id>", Another)
    with pytest.raises(ImproperUse, match="and a subclass of UserChannel"):
        routes.register("users/<user_id>", Orders)
    routes.unregister("users/<user_id>")
    assert type(routes.resolve("users/5")) is UserChannel


def test_automatic_classes_follow_the_routes(routes):
    class Greeting(Orders):
        @classmethod
        def automatic(cls, connection):
            return ["greetings/1"]

    assert routes.automatic_classes() == ()
    routes.register("greetings/<int:x>", Greeting)
    routes.register("hellos/<int:x>", Greeting)
    assert routes.automatic_classes() == (Greeting,)
    routes.unregister("greetings/<int:x>")
    routes.unregister("hellos/<int:x>")
    assert routes.automatic_classes() == ()


def test_automatic_is_refused_when_it_is_no_classmethod():
    with pytest.raises(ImproperUse, match=r"Wrong\.automatic is no classmethod"):
        type("Wrong", (Channel,), {"automatic": lambda self, connection: ()})


@pytest.mark.parametrize("pattern", ["", "/a", "a/", "<nope:x>", "a b", "<int:x>/<int:x>"])
def test_route_is_refused_when_it_is_malformed(routes, pattern):
    with pytest.raises(ImproperUse, match=f"channel route {re.escape(repr(pattern))}"):
        routes.register(pattern, Orders)


@pytest.mark.parametrize("thing", [object, "Orders", None, Orders("a", {}), lambda: None])
def test_route_is_refused_when_it_leads_to_no_channel_class(routes, thing):
    with pytest.raises(ImproperUse, match=re.escape("@register('x') is for subclasses of Channel")):
        routes.register("x", thing)


def test_register_decorates_and_returns_the_class():
    try:

        @register("decorated/<int:n>")
        class Decorated(Channel):
            pass

        assert isinstance(Decorated, type)
        assert type(registry.resolve("decorated/1")) is Decorated
    finally:
        registry.unregister("decorated/<int:n>")


def test_realtime_modules_of_installed_apps_are_found():
    assert registry.resolve("stocks").__class__.__module__ == "tests.site.realtime"


# -- users' own channels ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "got"),
    [(Orders, "Orders"), (None, "None"), (7, "7"), (["orders"], "['orders']")],
)
def test_register_wants_a_pattern(given, got):
    message = f"@register got {got}; expected a pattern, such as @register('orders/<int:order_id>')"
    with pytest.raises(ImproperUse, match=f"^{re.escape(message)}$"):
        register(given)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("value", [True, "is_staff", ()])
def test_hook_that_is_no_method_is_refused_when_its_class_is_made(hook, value):
    with pytest.raises(ImproperUse, match=rf"^Wrong\.{hook} is {re.escape(repr(value))}; expected"):
        type("Wrong", (Channel,), {hook: value})


def test_hook_may_be_any_callable():
    made = type("Made", (Channel,), {"can_subscribe": staticmethod(bool), "can_call": None})
    assert made("x", {}).can_subscribe(1) is True


# -- users -----------------------------------------------------------------------------------------

ID = "a user or its primary key (auth.User.id, AutoField), not a name"


@pytest.mark.parametrize(
    "user",
    [7, "7", "007", User(pk=7), SimpleLazyObject(lambda: User(pk=7)), TokenUser({"user_id": 7})],
)
def test_user_key_is_the_primary_key_as_text(user):
    assert user_key(user, "f()") == "7"


@pytest.mark.parametrize(
    ("user", "got"),
    [
        ("alice", "'alice'"),
        ("", "''"),
        ("a.very.long.token.or.session.key.", "a value of type str"),
        (True, "True"),
        (1.5, "1.5"),
        (b"7", "a value of type bytes"),
        (None, "a value of type NoneType"),
        ([7], "a value of type list"),
        ({"pk": 7}, "a value of type dict"),
        (Group(pk=7), "a value of type Group"),
        (uuid.UUID(int=7), "a value of type UUID"),
    ],
)
def test_user_key_refuses_what_is_neither_a_user_nor_its_key(user, got):
    with pytest.raises(ImproperUse, match=f"^{re.escape(f'f(): got {got}; expected {ID}')}$"):
        user_key(user, "f()")


@pytest.mark.parametrize("user", [AnonymousUser(), User()])
def test_user_key_refuses_a_user_without_one(user):
    message = f"f(): {type(user).__name__} has no primary key; expected a saved user"
    with pytest.raises(ImproperUse, match=f"^{re.escape(message)}$"):
        user_key(user, "f()")


@pytest.mark.parametrize(
    ("field", "user", "key"),
    [
        (UUIDField(), "0c1b0000000000000000000000000000", "0c1b0000-0000-0000-0000-000000000000"),
        (UUIDField(), uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (UUIDField(), 7, None),
        (UUIDField(), "alice", None),
        (CharField(), "alice", "alice"),
        (EmailField(), "foo+tag@example.com", "foo+tag@example.com"),
    ],
)
def test_user_key_is_of_the_type_of_the_sites_own_user(monkeypatch, field, user, key):
    field.name = "id"
    model = SimpleNamespace(_meta=SimpleNamespace(pk=field, label="shop.Member"))
    monkeypatch.setattr(user_keys, "get_user_model", lambda: model)
    if key is None:
        with pytest.raises(ImproperUse, match=r"shop\.Member\.id, UUIDField"):
            user_key(user, "f()")
    else:
        assert user_key(user, "f()") == key


def test_user_key_is_any_text_where_users_are_rows_of_another_service(settings):
    settings.CHANNELS_REALTIME = {"STATELESS_TOKENS": True}
    assert user_key("0c1b-4", "f()") == "0c1b-4"


@pytest.mark.parametrize("name", ["users/1", "users/a@example.com", "users/0c1b-4"])
def test_every_user_has_a_channel(routes, name):
    channel = routes.resolve(name)
    assert type(channel) is UserChannel
    assert channel.kwargs == {"user_id": name.removeprefix("users/")}


@pytest.mark.parametrize(
    "user_id",
    ["1", "foo+tag@example.com", "with space", "jürgen", "a/b:c", "a=2B", "ü" * 150, "x" * 255, ""],
)
def test_users_channel_is_open_to_its_user_whatever_the_primary_key(routes, user_id):
    name = user_channel_name(user_id)
    channel = routes.resolve(name)
    assert type(channel) is UserChannel
    assert channel.can_subscribe(Client(user_id)) is True
    assert channel.can_subscribe(Client(user_id + "x")) is False
    assert user_channel_name(user_id + "x") != name


def test_users_channel_has_one_name(routes):
    assert routes.resolve("users/=41nn").can_subscribe(Client("Ann")) is False


def test_route_may_have_quoted_text(routes):
    routes.register("titles/<quoted:title>", Orders)
    assert routes.resolve("titles/a=20b").kwargs == {"title": "a b"}


def test_users_channel_is_there_whatever_else_is_routed():
    routes = ChannelRegistry()
    routes.register("<path:rest>", Orders)
    assert type(routes.resolve("users/1")) is UserChannel


@pytest.mark.parametrize(
    ("user_id", "expected"), [("1", True), ("2", False), ("01", False), (None, False)]
)
def test_users_channel_is_for_that_user_alone(routes, user_id, expected):
    assert routes.resolve("users/1").can_subscribe(Client(user_id)) is expected


def test_nobody_publishes_to_a_users_channel_as_a_client(routes):
    assert routes.resolve("users/1").can_publish(Client("1")) is False


# -- defaults --------------------------------------------------------------------------------------


def test_nobody_may_do_anything_by_default():
    channel = Orders("orders/1", {})
    assert channel.can_subscribe(Client("1")) is False
    assert channel.can_publish(Client("1")) is False
    assert channel.client_events == ()
    assert channel.actions == {}
    assert channel.can_call is None


def test_everybody_may_subscribe_when_the_class_is_public():
    class Public(Channel):
        public = True

    assert Public("a", {}).can_subscribe(Client()) is True
    assert Public("a", {}).can_publish(Client()) is False


def test_sender_shows_the_users_id_alone():
    assert Orders("a", {}).sender(Client("7")) == {"user": "7"}
    assert Orders("a", {}).sender(Client()) == {"user": None}


def test_payload_is_published_as_it_is_by_default():
    assert Orders("a", {}).on_publish(Client(), {"x": 1}, "event") == {"x": 1}


def test_class_knows_which_hooks_it_overrides():
    class Hooked(Channel):
        def on_subscribe(self, connection):
            pass

    class Inherits(Hooked):
        pass

    assert not Orders.overrides("on_subscribe")
    assert Hooked.overrides("on_subscribe")
    assert Inherits.overrides("on_subscribe")
    assert not Inherits.overrides("on_publish")


# -- actions ---------------------------------------------------------------------------------------


class Acting(Channel):
    @action
    def plain(self, connection, payload):
        return payload

    @action(name="on-the-wire")
    async def named(self, connection, payload):
        return payload

    def not_marked(self, connection, payload):
        return payload


class MoreActing(Acting):
    @action
    def more(self, connection, payload):
        return payload


def test_actions_are_the_marked_methods_by_their_wire_names():
    assert Acting.actions == {"plain": "plain", "on-the-wire": "named"}


def test_actions_are_inherited_and_do_not_leak_to_the_base():
    assert set(MoreActing.actions) == {"plain", "on-the-wire", "more"}
    assert "more" not in Acting.actions
    assert Channel.actions == {}


# -- selection -------------------------------------------------------------------------------------


class Stocks(Channel):
    select = "symbol"


@pytest.mark.parametrize(
    ("parameters", "selection"),
    [
        (None, ALL),
        ({}, ALL),
        ({"other": 1}, ALL),
        ({"symbol": None}, ALL),
        ([], ALL),
        ("AAPL", ALL),
        ({"symbol": "AAPL"}, selection_of("AAPL")),
        ({"symbol": 1}, selection_of(1)),
        ({"symbol": True}, selection_of(True)),
        ({"symbol": False}, selection_of(False)),
        ({"symbol": 0}, selection_of(0)),
        ({"symbol": ""}, selection_of("")),
    ],
)
def test_subscriber_selects_by_its_parameter(parameters, selection):
    assert Stocks("stocks", {}, parameters).subscriber_selection() == selection


@pytest.mark.parametrize("value", [[], {}, ["AAPL"], {"a": 1}])
def test_subscriber_cannot_select_by_what_is_no_scalar(value):
    with pytest.raises(BadPayload) as caught:
        Stocks("stocks", {}, {"symbol": value}).subscriber_selection()
    assert caught.value.reason == "parameter 'symbol': only text, numbers and booleans select"


def test_subscriber_selects_nothing_where_the_class_does_not():
    assert Orders("orders/1", {}, {"symbol": "AAPL"}).subscriber_selection() is ALL


@pytest.mark.parametrize(
    ("payload", "selection"),
    [
        ({"symbol": "AAPL", "price": 1}, selection_of("AAPL")),
        ({"symbol": 0}, selection_of(0)),
        ({"price": 1}, ALL),
        ({"symbol": None}, ALL),
        ({"symbol": ["AAPL"]}, ALL),
        ("AAPL", ALL),
        (None, ALL),
    ],
)
def test_publication_belongs_to_the_selection_of_its_payload(payload, selection):
    assert Stocks.publication_selection(payload) == selection


def test_publication_belongs_to_none_where_the_class_does_not_select():
    assert Orders.publication_selection({"symbol": "AAPL"}) is ALL


def test_channels_of_one_name_hold_one_string(routes):
    first, second = (
        routes.resolve("".join(("orders/", "42"))),
        routes.resolve("".join(("orders/", "42"))),
    )
    assert first is not second
    assert first.name is second.name
