"""What ASGI does not offer, for single servers: flow control on Daphne, shutdown, aborts, compression.

Connections work without it: on an unknown server, only ASGI's own ``send`` and ``receive`` are used.
"""
