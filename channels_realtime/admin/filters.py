"""The filters of the list of connections: choices, and two text fields."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy

from ..models import ConnectionRecord, SubscriptionRecord
from ..monitoring.feed import CHANNEL
from ..settings import get_config
from .display import HEALTH, METHODS, method_words, visible
from .queries import alive_nodes, on_channel

SINCE = {
    "5m": (gettext_lazy("Last 5 minutes"), datetime.timedelta(minutes=5)),
    "1h": (gettext_lazy("Last hour"), datetime.timedelta(hours=1)),
    "1d": (gettext_lazy("Last day"), datetime.timedelta(days=1)),
}
OLDER = "older"


class HealthFilter(SimpleListFilter):
    """By what troubles a connection."""

    title = gettext_lazy("health")
    parameter_name = "health"
    ANY = "any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(self.ANY, gettext_lazy("in any trouble")), *HEALTH.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        asked = clean(self.value())
        if asked == self.ANY:
            return queryset.exclude(health="")
        return queryset.filter(health=asked) if asked else None


class SwitchFilter(SimpleListFilter):
    """One choice beside the default."""

    parameter_name: str
    default: ClassVar[Any]
    """What the list shows without the choice, in words."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        [(value, label)] = self.lookup_choices
        yield {
            "selected": self.value() != value,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": self.default,
        }
        yield {
            "selected": self.value() == value,
            "query_string": changelist.get_query_string({self.parameter_name: value}),
            "display": label,
        }


class AdminPagesFilter(SwitchFilter):
    """The connections of the admin's own pages: not shown unless asked for."""

    title = gettext_lazy("pages of this admin")
    parameter_name = "admin_pages"
    SHOWN = "shown"
    default = gettext_lazy("Hidden")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(self.SHOWN, gettext_lazy("Shown"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        asked_for_them = request.GET.get(ChannelFilter.parameter_name) == CHANNEL
        if self.value() == self.SHOWN or asked_for_them:
            return None
        own = Q(channel=CHANNEL)
        if get_config().namespace is not None:  # the name of the tenant, and "|", before it
            own |= Q(channel__endswith=f"|{CHANNEL}")
        pages = SubscriptionRecord._default_manager.filter(own)
        return queryset.exclude(pk__in=pages.values("connection_id"))


def wants_all_columns(request: HttpRequest) -> bool:
    """Whether the list is to have all columns."""
    return request.GET.get(ColumnsChoice.parameter_name) == ColumnsChoice.ALL


class ColumnsChoice(SwitchFilter):
    """No filter: few columns, which fit a laptop, or all. It stands with the filters in the URL."""

    title = gettext_lazy("columns")
    parameter_name = "columns"
    template = "admin/channels_realtime/connectionrecord/columns.html"
    ALL = "all"
    default = gettext_lazy("The most important")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(self.ALL, gettext_lazy("All"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        return None


class NodeFilter(SimpleListFilter):
    """By server process."""

    title = gettext_lazy("process")
    parameter_name = "process"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(node.pk, visible(node)) for node in alive_nodes(request).values()]

    def has_output(self) -> bool:
        return True  # a process that has ended still filters: its connections are gone

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        return queryset.filter(node_id=clean(self.value())) if self.value() else None


class MethodFilter(SimpleListFilter):
    """By the method of authentication; a site's own authenticators have methods of their own."""

    title = gettext_lazy("authentication")
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        in_use = model_admin.model._default_manager.order_by().values_list("auth_method", flat=True)
        methods = {*METHODS, *in_use.distinct()[:50]}
        known = list(METHODS)
        ordered = sorted(methods, key=lambda m: (known.index(m) if m in METHODS else 99, m))
        return [(method, method_words(method)) for method in ordered if method]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        return queryset.filter(auth_method=clean(self.value())) if self.value() else None


class SinceFilter(SimpleListFilter):
    """By the time of the connect."""

    title = gettext_lazy("connect time")
    parameter_name = "since"
    field = "connected_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            *((value, label) for value, (label, _) in SINCE.items()),
            (OLDER, gettext_lazy("More than a day ago")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        asked = self.value()
        if asked in SINCE:
            begin = timezone.now() - SINCE[asked][1]
            return queryset.filter(**{f"{self.field}__gte": begin})
        if asked == OLDER:
            return queryset.filter(**{f"{self.field}__lt": timezone.now() - SINCE["1d"][1]})
        return None


class TypedFilter(ListFilter):
    """A filter with a text field; its form is elsewhere on the page (``form_of``)."""

    template = "admin/channels_realtime/connectionrecord/typed_filter.html"
    parameter_name: ClassVar[str] = ""
    help_text: ClassVar[Any] = ""

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        values = params.pop(self.parameter_name, [])
        self.asked: str = clean(values[-1]) if values else ""
        if self.asked:
            self.used_parameters[self.parameter_name] = self.asked

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One, from which the template makes the text field."""
        yield {
            "form": self.form_id,
            "name": self.parameter_name,
            "value": self.asked,
            "help": self.help_text,
            "clear": changelist.get_query_string(remove=[self.parameter_name]),
        }

    @property
    def form_id(self) -> str:
        """The id by which the field refers to its form."""
        return f"realtime-filter-form-{self.parameter_name}"

    def form_of(self, changelist: ChangeList) -> dict[str, Any]:
        """The form, with the other parameters of the list in hidden fields."""
        kept = [
            (name, value)
            for name, values in changelist.filter_params.items()
            for value in values
            if name not in (self.parameter_name, PAGE_VAR)
        ]
        return {"id": self.form_id, "kept": kept}

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]
    ) -> QuerySet[ConnectionRecord] | None:
        return queryset.filter(self.condition()) if self.asked else None

    def condition(self) -> Q:
        """The condition for a row."""
        raise NotImplementedError


class UserFilter(TypedFilter):
    """By user: the exact name or id."""

    title = gettext_lazy("user")
    parameter_name = "user"
    help_text = gettext_lazy("Exact name or id")

    def condition(self) -> Q:
        return Q(user_label=self.asked) | Q(user_pk=self.asked)


class ChannelFilter(TypedFilter):
    """By channel: the exact name."""

    title = gettext_lazy("channel")
    parameter_name = "channel"
    help_text = gettext_lazy("Exact name")

    def condition(self) -> Q:
        return on_channel(Q(channel=self.asked))


class PathFilter(TypedFilter):
    """By the path of the handshake: the exact one."""

    title = gettext_lazy("path")
    parameter_name = "path"
    help_text = gettext_lazy("Exact path, such as /ws/")

    def condition(self) -> Q:
        return Q(path=self.asked)


def clean(value: str | None) -> str:
    """The value without what some databases reject."""
    text = (value or "").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")
