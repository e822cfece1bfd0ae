"""The wire protocol, without I/O: names, messages, codecs and codes. Imports no Django, no asyncio."""
