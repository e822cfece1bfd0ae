"""How soon is at once, in a test that shares its processors with browsers and other servers."""

# What comes by a message takes milliseconds, but on a busy machine any step of it may wait for a second or
# more. Tests that use this set what would bring the same without the message (a poll, a sweep, a retry)
# further away.
PROMPTLY_S = 5.0
PROMPTLY_MS = 1000 * PROMPTLY_S
