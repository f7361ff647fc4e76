"""Drivers, which run a cell through time, and the sequence contract that each of them keeps."""
