from django.apps import AppConfig


class BoardsConfig(AppConfig):
    name = "boards"

    def ready(self) -> None:
        from . import signals  # noqa: F401  # here, because the receivers import the models
