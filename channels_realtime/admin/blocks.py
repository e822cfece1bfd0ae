"""The admin of blocks: users and addresses that may not connect for a time.

In: what staff enter. Out: rows, and after the commit a notification of the nodes, which close the
blocked connections. Uses Django's own permissions. To delete a block lifts it.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import operations
from ..access.blocks import check_target, normalise_address
from ..models import BlockRecord
from .forms import DURATIONS

WAIT_S = 1.0
"""How long a page waits to notify the nodes, which also poll the blocks."""

EXACT = "until"
CHOICES = [*DURATIONS, (EXACT, _("until the time below"))]

if TYPE_CHECKING:
    _Form = forms.ModelForm[BlockRecord]
    _Admin = admin.ModelAdmin[BlockRecord]
else:
    _Form, _Admin = forms.ModelForm, admin.ModelAdmin


class BlockForm(_Form):
    """Adds a block of a user or of an address."""

    lasts = forms.ChoiceField(label=_("Duration"), choices=CHOICES, initial="3600")

    class Meta:
        model = BlockRecord
        fields = ("user_pk", "address", "until", "reason")
        labels = {"user_pk": _("User")}
        help_texts = {
            "user_pk": _("The exact name or id. Write id:42 where 42 is also another user's name."),
            "until": _("Only with the duration “until the time below”."),
        }

    user_label = ""
    """The name of the user, set when the form is valid."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["until"].required = False  # a duration is enough

    def clean_user_pk(self) -> str:
        """The primary key of the user, in the form that connections have it."""
        text: str = self.cleaned_data["user_pk"].strip()
        if not text:
            return ""
        user = _named_user(text)
        self.user_label = str(user.get_username())[:255]
        return str(user.pk)

    def clean_address(self) -> str:
        """The address or network, in the form that nodes compare."""
        text: str = self.cleaned_data["address"].strip()
        return normalise_address(text) if text else ""

    def clean(self) -> dict[str, Any]:
        """Exactly one target and one end."""
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
                    gettext("Choose “until the time below”, or leave this field empty."),
                )
        elif until is None:
            self.add_error("until", gettext("Enter the time when the block ends."))
        elif until <= now:
            self.add_error("until", gettext("This time is in the past."))


def _named_user(text: str) -> Any:
    """The user with this exact name or primary key; ``id:`` before it means the key alone.

    Raises:
        ValidationError: there is none, or there are two.
    """
    model: Any = get_user_model()
    users = model._default_manager
    key = text.removeprefix("id:")
    by_name = by_key = None
    if key == text:
        by_name = users.filter(**{model.USERNAME_FIELD: text}).first()
    try:
        by_key = users.filter(pk=key).first()
    except (ValueError, TypeError, OverflowError, ValidationError):
        pass  # no key of this site's users looks like this
    if by_name is not None and by_key is not None and by_name.pk != by_key.pk:
        raise ValidationError(
            gettext(
                "%(value)s is the name of one user and the id of another. Enter id:%(key)s for the"
                " user with this id, or id:%(other)s for the user with this name."
            )
            % {"value": repr(text), "key": key, "other": by_name.pk}
        )
    user = by_key if by_name is None else by_name
    if user is None:
        raise ValidationError(
            gettext("No user has the name or id %(value)s.") % {"value": repr(text)}
        )
    return user


class ForceFilter(admin.SimpleListFilter):
    """Active or expired blocks."""

    title = _("state")
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The two choices."""
        return [("yes", _("Active")), ("no", _("Expired"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[BlockRecord]
    ) -> QuerySet[BlockRecord]:
        """The blocks of the chosen kind."""
        now = timezone.now()
        if self.value() == "yes":
            return queryset.filter(until__gt=now)
        if self.value() == "no":
            return queryset.filter(until__lte=now)
        return queryset


class BlockRecordAdmin(_Admin):
    """The blocks; expired ones stay in the list for 30 days."""

    list_display = ("target", "until", "in_force", "reason", "created_by", "created_at")
    list_filter = (ForceFilter,)
    search_fields = ("=user_pk", "user_label", "address", "reason", "created_by")
    search_help_text = _(
        "A whole user id, or part of a user name, address or reason, or of who created the block."
    )
    ordering = ("-until", "-pk")

    @admin.display(description=_("blocked"), ordering="user_label")
    def target(self, record: BlockRecord) -> str:
        """The user or the address, isolated because names may be right-to-left."""
        if record.address:
            return format_html("<bdi>{}</bdi>", record.address)
        if record.user_label:
            return format_html("<bdi>{}</bdi> (<bdi>{}</bdi>)", record.user_label, record.user_pk)
        return format_html("<bdi>{}</bdi>", record.user_pk)

    @admin.display(description=_("active"), boolean=True)
    def in_force(self, record: BlockRecord) -> bool:
        """Whether the block has not expired."""
        return record.until > timezone.now()

    def get_form(
        self,
        request: HttpRequest,
        obj: BlockRecord | None = None,
        change: bool = False,
        **options: Any,
    ) -> Any:
        """Adding a block asks for more than changing one."""
        if obj is None:
            options["form"] = BlockForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: BlockRecord | None = None) -> Any:
        """The fields to enter, or those to change and to show."""
        if obj is None:
            return ("user_pk", "address", "lasts", "until", "reason")
        return ("target", "until", "reason", "created_by", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: BlockRecord | None = None) -> Any:
        """The target and the creator cannot be changed."""
        return () if obj is None else ("target", "created_by", "created_at")

    def save_model(self, request: HttpRequest, obj: BlockRecord, form: Any, change: bool) -> None:
        """Save the block with its creator, and notify the nodes."""
        if not change:
            obj.user_label = form.user_label
            obj.created_by = str(request.user.get_username())[:255]
        super().save_model(request, obj, form, change)
        operations.notify_of_blocks(wait=WAIT_S)

    def delete_model(self, request: HttpRequest, obj: BlockRecord) -> None:
        """Delete the block, and notify the nodes."""
        super().delete_model(request, obj)
        operations.notify_of_blocks(wait=WAIT_S)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BlockRecord]) -> None:
        """Delete the blocks, and notify the nodes."""
        super().delete_queryset(request, queryset)
        operations.notify_of_blocks(wait=WAIT_S)
