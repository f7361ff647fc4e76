"""Drivers, which run a cell through time, and the sequence contract shared by all of them."""
