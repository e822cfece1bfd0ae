"""One client: its connection, what it asks for, and the way out to it."""
