"""Template tags: ``{% load channels_realtime %}``."""
