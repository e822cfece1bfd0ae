from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver

from channels_realtime import publish


class Note(models.Model):
    text = models.TextField()

    def __str__(self):
        return self.text


@receiver(post_save, sender=Note)
def tell(sender, instance, **kwargs):
    publish("notes", {"text": instance.text}, event="saved")
