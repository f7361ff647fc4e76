"""Data handling: tables, text, batches, buckets, streams, vocabularies."""
