"""Lists the data sets of the experiments, and fetches them."""
