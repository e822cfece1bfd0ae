"""What outlives a message, a connection or a process: histories, members and sessions."""
