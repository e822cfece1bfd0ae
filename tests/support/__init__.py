"""What tests share: fakes, and ways to start and talk to the real thing."""
