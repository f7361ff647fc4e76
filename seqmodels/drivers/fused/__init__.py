"""The fused driver: backpropagation through time with a derived backward pass."""
