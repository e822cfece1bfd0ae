"""What outlives a connection so that it can be resumed: the contract of stores, in memory and in Redis."""
