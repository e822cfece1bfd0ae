from django.db import models

MAX_TICKS = 1000  # kept


class Tick(models.Model):
    """A number of the feed: its primary key, so that a server that is restarted counts on."""

    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return str(self.pk)
