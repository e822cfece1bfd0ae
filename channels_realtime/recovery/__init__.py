"""What a stream has delivered and what it still misses: the rules, without I/O."""
