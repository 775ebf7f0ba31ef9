"""Benchmarks: one file a data set, each giving images with their truth; never torch."""
