"""The Django site of the tests, with an app for each subject.

Environment variables in ``settings`` choose its database, channel layer and options. ``realtime`` has
channels of every kind, which the unit tests use as well. Apps: ``publishing`` (views, models and commands
that publish), ``members`` (accounts, logins, revocation, blocks), ``database_hooks`` (hooks that use the
ORM) and ``howto_chat`` (the chat of the how-to for consumers).
"""
