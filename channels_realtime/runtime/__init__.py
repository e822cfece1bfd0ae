"""The event loop, threads and time; nothing here knows of channels or clients."""
