"""The ways to take a cell through time, and the contract that all of them keep."""
