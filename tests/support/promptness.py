"""How soon is at once, in a test that shares its processors with browsers and other servers."""

# What comes by a message takes milliseconds, but on a busy machine any step of it may wait for a second or
# more. Where a test tells a message from what would bring the same without it (a poll, a sweep, a retry),
# that is further away than this.
PROMPTLY_S = 5.0
PROMPTLY_MS = 1000 * PROMPTLY_S
