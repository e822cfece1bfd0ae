from django.conf import settings
from django.db import models
from django.urls import reverse

MAX_TEXT_CHARACTERS = 2000
MAX_LINES = 1000  # of a room; the older ones go


class Room(models.Model):
    slug = models.SlugField(unique=True, help_text="The channel is rooms/<slug>.")
    name = models.CharField(max_length=80)
    topic = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.slug])

    def trim(self) -> None:
        """Delete all but the last `MAX_LINES`."""
        oldest_kept = self.lines.values_list("pk", flat=True)[MAX_LINES - 1 : MAX_LINES].first()
        if oldest_kept is not None:
            self.lines.filter(pk__lt=oldest_kept).delete()


class Line(models.Model):
    """What somebody said in a room, kept so that a page can show what came before it."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="lines")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=MAX_TEXT_CHARACTERS)
    key = models.CharField(
        max_length=64, blank=True, help_text="The page's own name for it, to tell it from others."
    )
    said_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["room", "-id"], name="rooms_line_newest")]

    def __str__(self) -> str:
        return self.text[:60]

    def as_payload(self) -> dict[str, object]:
        return {
            "text": self.text,
            "key": self.key,
            "name": self.user.get_username(),
            "said_at": self.said_at,
        }
