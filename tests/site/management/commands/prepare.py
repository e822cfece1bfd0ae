from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Makes the tables and the accounts alice, bob and admin, each with its name as password."

    def handle(self, *args, **options):
        call_command("migrate", run_syncdb=True, verbosity=0)
        users = get_user_model().objects
        users.create_user("alice", password="alice")
        users.create_user("bob", password="bob")
        users.create_superuser("admin", password="admin")
