from django.conf import settings
from django.db import models

MAX_ENTRIES = 50  # kept


class Entry(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=300)
    written_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return self.text[:60]

    @classmethod
    def summary(cls) -> dict[str, int]:
        return cls.objects.aggregate(
            entries=models.Count("pk"), users=models.Count("user", distinct=True)
        )
