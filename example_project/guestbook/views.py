"""A page without a script of its own: what a view publishes as HTML appears in every browser."""

from django import forms
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from channels_realtime import publish_html

from .models import MAX_ENTRIES, Entry


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ["text"]


def guestbook(request: HttpRequest) -> HttpResponse:
    # The template evaluates the entries after it has written the channel's position.
    entries = Entry.objects.select_related("user")[:MAX_ENTRIES]
    return render(request, "guestbook/page.html", {"entries": entries, "summary": Entry.summary})


@login_required
def summary(request: HttpRequest) -> HttpResponse:
    """Fetched by htmx whenever the channel has changed the page."""
    return render(request, "guestbook/summary.html", {"summary": Entry.summary})


@login_required
@require_POST
def sign(request: HttpRequest) -> HttpResponse:
    form = EntryForm(request.POST)
    if form.is_valid():
        with transaction.atomic():
            entry = form.save(commit=False)
            entry.user = request.user
            entry.save()
            publish_html(
                "guestbook",
                "guestbook/entry.html",
                {"entry": entry},
                target="#entries",
                action="prepend",
            )
            for old in Entry.objects.all()[MAX_ENTRIES:]:
                publish_html("guestbook", target=f"#entry-{old.pk}", action="remove")
                old.delete()
    if "HX-Request" in request.headers:
        return HttpResponse(status=204)  # the channel brings the entry
    return redirect("guestbook")
