"""A small site that the integration tests serve; its environment variables are in ``settings``."""
