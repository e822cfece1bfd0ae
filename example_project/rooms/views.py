from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify

from . import live
from .models import MAX_TEXT_CHARACTERS, Room
from .realtime import RECENT_MESSAGES


def room_list(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return create_room(request)
    return render(request, "rooms/list.html", {"rooms": Room.with_messages()})


@login_required
def create_room(request: HttpRequest) -> HttpResponse:
    name = request.POST.get("name", "").strip()[:80]
    slug = slugify(name)[:50]
    if not slug:
        messages.error(request, "The name needs a letter or a digit.")
        return redirect("rooms")
    room, created = Room.objects.get_or_create(slug=slug, defaults={"name": name})
    if created:
        live.show_new(room)
    return redirect(room)


def room_detail(request: HttpRequest, slug: str) -> HttpResponse:
    room = get_object_or_404(Room, slug=slug)
    return render(
        request,
        "rooms/detail.html",
        {
            "room": room,
            "rooms": Room.objects.all(),
            "max_text": MAX_TEXT_CHARACTERS,
            "page_size": RECENT_MESSAGES,
        },
    )
