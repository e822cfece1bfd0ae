"""The ways in: the steps of a handshake, once for all, and an endpoint for each transport."""
