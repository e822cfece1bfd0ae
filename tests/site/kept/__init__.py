"""Channels with history, state and presence, for the checker and the tests of what is promised."""
