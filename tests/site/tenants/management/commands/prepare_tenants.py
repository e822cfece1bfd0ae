from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from tests.site.tenants import schema


class Command(BaseCommand):
    help = "Makes the tables, and the schemas of the tenants a and b, each with one user: alice of a, and bob of b."

    def handle(self, *args, **options):
        call_command("migrate", run_syncdb=True, verbosity=0)
        for tenant, name in (("a", "alice"), ("b", "bob")):
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE SCHEMA {tenant}")
                for model in (get_user_model(), Session):
                    table = model._meta.db_table
                    cursor.execute(
                        f"CREATE TABLE {tenant}.{table} (LIKE public.{table} INCLUDING ALL)"
                    )
            with schema(tenant):
                user = get_user_model().objects.create_user(name, password=name)
                assert user.pk == 1
