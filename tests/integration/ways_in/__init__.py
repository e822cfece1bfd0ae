"""The served site with every way in switched on, and our loggers at DEBUG."""
