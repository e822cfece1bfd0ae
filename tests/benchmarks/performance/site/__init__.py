"""The site of the benchmarks: as out of the box, with one channel class for each thing measured."""
