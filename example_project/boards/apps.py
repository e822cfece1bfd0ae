from django.apps import AppConfig


class BoardsConfig(AppConfig):
    name = "boards"

    def ready(self) -> None:
        from . import signals  # noqa: F401  # receivers need the models, which are loaded by now
