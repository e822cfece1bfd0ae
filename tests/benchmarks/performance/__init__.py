"""What the package costs beside plain Channels and the least that a server can do; see ``__main__``."""
