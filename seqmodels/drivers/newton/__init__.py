"""The Newton driver: all time steps at once, by Newton's method on the sequence of states."""
