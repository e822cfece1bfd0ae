"""The tables of a history store in the site's own database; see ``tests.support.database_history``."""

from __future__ import annotations

from django.db import models


class HistoryBucket(models.Model):
    number = models.IntegerField(primary_key=True)
    sequence = models.BigIntegerField(default=0)


class HistoryStream(models.Model):
    name = models.CharField(max_length=264, primary_key=True)
    epoch = models.CharField(max_length=16)
    top = models.BigIntegerField(default=0)
    bucket = models.IntegerField(db_index=True)
    changed = models.BigIntegerField(default=0)


class HistoryEntry(models.Model):
    stream = models.CharField(max_length=264)
    offset = models.BigIntegerField()
    uid = models.CharField(max_length=16)
    body = models.BinaryField()
    expires = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint("stream", "offset", name="history_entry")]


class HistoryKey(models.Model):
    stream = models.CharField(max_length=264)
    key = models.CharField(max_length=264)
    digest = models.CharField(max_length=64)
    epoch = models.CharField(max_length=16)
    offset = models.BigIntegerField()
    expires = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint("stream", "key", name="history_key")]


class HistoryState(models.Model):
    """The state of a key; without an offset, the version alone of one that has no state any more."""

    stream = models.CharField(max_length=264)
    key = models.CharField(max_length=264)
    offset = models.BigIntegerField(null=True)
    uid = models.CharField(max_length=16)
    body = models.BinaryField()
    body_version = models.BigIntegerField(null=True)
    version = models.BigIntegerField(null=True)
    expires = models.FloatField(null=True)
    version_expires = models.FloatField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint("stream", "key", name="history_state")]
