"""What ASGI servers do not do through ASGI: flow control on Daphne, and leaving on a signal.

Nothing here is needed for a connection to work: on a server that is not known, ASGI's own ``send``
and ``receive`` are all there is.
"""
