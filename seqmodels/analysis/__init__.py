"""The microscope: gradients through time, and how far a memory reaches."""
