from django.apps import AppConfig


class HowtoChatConfig(AppConfig):
    name = "tests.howto_chat"
    label = "howto_chat"
