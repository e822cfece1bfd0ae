from .models import Room

ROOMS = (
    ("lobby", "Lobby", "Say hello. Sign in as bob in a second browser and answer."),
    ("engineering", "Engineering", "Incidents, releases and plans."),
    ("coffee", "Coffee corner", "Anything but work."),
)


def create_sample_rooms() -> None:
    for slug, name, topic in ROOMS:
        Room.objects.get_or_create(slug=slug, defaults={"name": name, "topic": topic})
