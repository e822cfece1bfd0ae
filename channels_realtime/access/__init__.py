"""Who may be here: origins, addresses, blocks, limits and revocations."""
