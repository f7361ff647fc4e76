"""Input and output files: consistent reading, atomic writing, locks, safe display of text."""
