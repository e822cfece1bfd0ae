"""One process among others: its subscribers, its groups on the channel layer, requests between processes."""
