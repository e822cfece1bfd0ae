"""Who is on a channel: the contract of stores, and the stores in memory and in Redis."""
