"""Measurements, each beside what it competes with, with CPU time and load. Results go to bench/out/."""
