"""Many to many: English sentences to German ones."""
