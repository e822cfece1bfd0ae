from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse

MAX_TEXT_CHARACTERS = 2000
MAX_MESSAGES = 1000  # kept for each room
LATEST_MESSAGES = 4  # on the home page


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

    @classmethod
    def with_messages(cls) -> "models.QuerySet[Room]":
        """The rooms, with how many messages each has and when the last was sent."""
        return cls.objects.annotate(
            message_count=models.Count("messages"), last_sent_at=models.Max("messages__sent_at")
        )

    def latest(self) -> list["Message"]:
        """The last few messages, oldest first."""
        return list(reversed(self.messages.select_related("user")[:LATEST_MESSAGES]))

    def delete_old_messages(self) -> None:
        """Delete all but the last `MAX_MESSAGES`."""
        pks = self.messages.values_list("pk", flat=True)
        oldest_kept = pks[MAX_MESSAGES - 1 : MAX_MESSAGES].first()
        if oldest_kept is not None:
            self.messages.filter(pk__lt=oldest_kept).delete()


class Message(models.Model):
    """A message of a room, stored so that a page which opens later can show it."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=MAX_TEXT_CHARACTERS)
    key = models.CharField(max_length=64, blank=True, help_text="The page's own id of the message.")
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["room", "-id"], name="rooms_message_newest")]

    def __str__(self) -> str:
        return self.text[:60]

    @property
    def hue(self) -> int:
        """The colour of the author's circle, as the room's page computes it."""
        hue = 7
        for letter in self.user.get_username():
            hue = (hue * 31 + ord(letter)) % 360
        return hue

    def as_payload(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "text": self.text,
            "key": self.key,
            "name": self.user.get_username(),
            "sent_at": self.sent_at,
        }
