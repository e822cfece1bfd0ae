"""The wire, without I/O: names, messages, codecs and codes. Imports neither Django nor asyncio."""
