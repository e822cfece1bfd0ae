"""Blocks in the admin: who may not connect for a time, and the hand to change that.

In: what staff enter. Out: rows, and word to the nodes once they are committed, which end what is
connected. Adding needs Django's own permission to add a block, and so on; deleting one lets its user
or address in again.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import operations
from ..access.blocks import check_target, normalise_address
from ..models import BlockRecord

WAIT_S = 1.0
"""How long a page waits for the layer to take the news; the nodes look for themselves soon after."""

EXACT = "until"
DURATIONS = [
    ("600", _("10 minutes")),
    ("3600", _("1 hour")),
    ("86400", _("1 day")),
    ("604800", _("1 week")),
    (EXACT, _("until the time below")),
]
"""By seconds, as text."""

if TYPE_CHECKING:
    _Form = forms.ModelForm[BlockRecord]
    _Admin = admin.ModelAdmin[BlockRecord]
else:
    _Form, _Admin = forms.ModelForm, admin.ModelAdmin


class BlockForm(_Form):
    """Makes a block of a user or of an address."""

    lasts = forms.ChoiceField(label=_("duration"), choices=DURATIONS, initial="3600")

    class Meta:
        model = BlockRecord
        fields = ("user_pk", "address", "until", "reason")
        help_texts = {
            "user_pk": _("The primary key of a user, as the list of connections shows it."),
            "until": _("Only if the block ends at a certain time."),
        }

    user_label = ""
    """The name of the user, once the form is valid."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["until"].required = False  # a duration will do

    def clean_user_pk(self) -> str:
        """The user's primary key, as connections have it."""
        text: str = self.cleaned_data["user_pk"].strip()
        if not text:
            return ""
        try:
            user = get_user_model()._default_manager.get(pk=text)
        except ObjectDoesNotExist:
            message = gettext("There is no user with the id %(value)s.")
            raise ValidationError(message % {"value": repr(text)}) from None
        except (ValueError, TypeError, OverflowError, ValidationError):
            message = gettext("%(value)s cannot be a user's id. Enter the id, not the user name.")
            raise ValidationError(message % {"value": repr(text)}) from None
        self.user_label = str(user.get_username())[:255]
        return str(user.pk)

    def clean_address(self) -> str:
        """The address or network, as the nodes compare it."""
        text: str = self.cleaned_data["address"].strip()
        return normalise_address(text) if text else ""

    def clean(self) -> dict[str, Any]:
        """One target, and one end."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if "lasts" in data and "until" in data:
            self._clean_end(data)
        if "user_pk" in data and "address" in data:
            check_target(data["user_pk"], data["address"])
        return data

    def _clean_end(self, data: dict[str, Any]) -> None:
        now, until = timezone.now(), data["until"]
        if data["lasts"] != EXACT:
            if until is None:
                data["until"] = now + datetime.timedelta(seconds=int(data["lasts"]))
            else:
                self.add_error(
                    "until",
                    gettext("Choose “until the time below”, or leave this empty."),
                )
        elif until is None:
            self.add_error("until", gettext("Enter the time at which the block ends."))
        elif until <= now:
            self.add_error("until", gettext("This time is in the past."))


class ForceFilter(admin.SimpleListFilter):
    """Blocks that are in force, or over."""

    title = _("in force")
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The two choices."""
        return [("yes", _("In force")), ("no", _("Over"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[BlockRecord]
    ) -> QuerySet[BlockRecord]:
        """What is left of the list."""
        now = timezone.now()
        if self.value() == "yes":
            return queryset.filter(until__gt=now)
        if self.value() == "no":
            return queryset.filter(until__lte=now)
        return queryset


class BlockRecordAdmin(_Admin):
    """Who may not connect for a time; those that are over stay for a month."""

    list_display = ("target", "until", "in_force", "reason", "created_by", "created_at")
    list_filter = (ForceFilter,)
    search_fields = ("=user_pk", "user_label", "address", "reason", "created_by")
    search_help_text = _("A user's name or id, an address, a reason, or who made the block.")
    ordering = ("-until", "-pk")

    @admin.display(description=_("blocked"), ordering="user_label")
    def target(self, record: BlockRecord) -> str:
        """The user or the address; isolated, as names may be written in either direction."""
        if record.address:
            return format_html("<bdi>{}</bdi>", record.address)
        if record.user_label:
            return format_html("<bdi>{}</bdi> (<bdi>{}</bdi>)", record.user_label, record.user_pk)
        return format_html("<bdi>{}</bdi>", record.user_pk)

    @admin.display(description=_("in force"), boolean=True)
    def in_force(self, record: BlockRecord) -> bool:
        """Whether its time is not over."""
        return record.until > timezone.now()

    def get_form(
        self,
        request: HttpRequest,
        obj: BlockRecord | None = None,
        change: bool = False,
        **options: Any,
    ) -> Any:
        """Making one asks for more than changing one."""
        if obj is None:
            options["form"] = BlockForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: BlockRecord | None = None) -> Any:
        """What can be entered, and what is only shown."""
        if obj is None:
            return ("user_pk", "address", "lasts", "until", "reason")
        return ("target", "until", "reason", "created_by", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: BlockRecord | None = None) -> Any:
        """Whom it is about, and who made it, stays as it is."""
        return () if obj is None else ("target", "created_by", "created_at")

    def save_model(self, request: HttpRequest, obj: BlockRecord, form: Any, change: bool) -> None:
        """Write it, with who made it, and tell the nodes."""
        if not change:
            obj.user_label = form.user_label
            obj.created_by = str(request.user.get_username())[:255]
        super().save_model(request, obj, form, change)
        operations.notify_of_blocks(wait=WAIT_S)

    def delete_model(self, request: HttpRequest, obj: BlockRecord) -> None:
        """Let in again whom it kept out."""
        super().delete_model(request, obj)
        operations.notify_of_blocks(wait=WAIT_S)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BlockRecord]) -> None:
        """Let in again whom they kept out."""
        super().delete_queryset(request, queryset)
        operations.notify_of_blocks(wait=WAIT_S)
