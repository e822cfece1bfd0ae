"""Parts of pages that show rooms, rendered here and put in place by `<realtime-channel>`."""

from channels_realtime import publish_html

from .models import Room


def show_messages(room: Room) -> None:
    """Show a room's new message in the list of rooms and on the home page."""
    counted = Room.with_messages().get(pk=room.pk)
    publish_html(
        "rooms", "rooms/card.html", {"room": counted}, target=f"#room-{room.slug}", action="morph"
    )
    publish_html(
        "rooms",
        "rooms/latest.html",
        {"room": counted},
        target=f"#latest-{room.slug}",
        action="morph",
    )


def show_new(room: Room) -> None:
    """Show a new room at the end of the list of rooms."""
    publish_html("rooms", "rooms/card.html", {"room": room}, target="#rooms")
