from .models import Room

ROOMS = (
    ("lobby", "Lobby", "Say hello. Open a second browser as bob and answer yourself."),
    ("engineering", "Engineering", "What broke, what shipped, what is next."),
    ("coffee", "Coffee corner", "Anything but work."),
)


def create_sample_rooms() -> None:
    for slug, name, topic in ROOMS:
        Room.objects.get_or_create(slug=slug, defaults={"name": name, "topic": topic})
