from .models import Room

ROOMS = (
    ("lobby", "Lobby", "Say hello, then answer as bob from a second browser."),
    ("engineering", "Engineering", "Incidents, releases and plans."),
    ("coffee", "Coffee corner", "Anything but work."),
)


def create_sample_rooms() -> None:
    for slug, name, topic in ROOMS:
        Room.objects.get_or_create(slug=slug, defaults={"name": name, "topic": topic})
