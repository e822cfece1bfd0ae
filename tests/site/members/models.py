from django.conf import settings
from django.contrib.auth.models import User
from django.db import models


class Seat(models.Model):
    """A user's permission to be in a room."""

    room = models.CharField(max_length=100)
    user_pk = models.CharField(max_length=100)

    def __str__(self):
        return f"{self.user_pk} in {self.room}"


class Employee(User):
    """A proxy of the user model, as some admin sites have."""

    class Meta:
        proxy = True


class Customer(User):
    """A subclass of the user model with a table of its own."""

    number = models.IntegerField(default=0)

    def __str__(self):
        return f"{self.username} of {settings.ROOT_URLCONF}"
