"""The ways to a channel layer: its public API, and faster ones for layers whose exact type is known."""
