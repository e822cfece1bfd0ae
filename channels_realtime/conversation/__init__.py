"""One connection's conversation, without I/O: commands and ticks in, effects out."""
