import multiprocessing
import os

from django.core.management.base import BaseCommand, CommandError

from channels_realtime import publish


def work(channel, who):
    """A task of a pre-forked worker: two publications, because the second meets a warm loop."""
    publish(channel, {"from": who, "number": 1})
    publish(channel, {"from": who, "number": 2})


class Command(BaseCommand):
    help = "Publishes, forks as a Celery worker does, and publishes in the children and again here."

    def add_arguments(self, parser):
        parser.add_argument("channel")

    def handle(self, *args, **options):
        channel = options["channel"]
        publish(channel, {"from": "parent", "number": 1})
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=work, args=(channel, name)) for name in ("first", "second")]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
        codes = [child.exitcode for child in children]
        if codes != [0, 0]:
            for child in children:
                child.kill()
            raise CommandError(f"{os.getpid()}: the children ended with {codes}")
        publish(channel, {"from": "parent", "number": 2})
