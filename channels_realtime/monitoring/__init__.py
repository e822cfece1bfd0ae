"""What operators see: live connections, samples, traces."""
