"""The Newton driver, which solves for the states of all time steps at once."""
