"""Publications that are kept: the contract of stores, and the stores in memory and in Redis."""
