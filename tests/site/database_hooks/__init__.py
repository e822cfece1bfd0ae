"""Channels with hooks that use the database: good ones, slow ones and broken ones."""
