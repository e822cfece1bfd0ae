"""The example site, as its tests drive it: started as a user would, visited over HTTP and WebSocket."""
