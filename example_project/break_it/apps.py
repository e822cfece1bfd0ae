from django.apps import AppConfig


class BreakItConfig(AppConfig):
    name = "break_it"
