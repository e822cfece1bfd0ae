"""Channels with history and state, for the checker and the tests of what is promised."""
