"""What any data goes through: tables, text, batches, buckets, streams, vocabularies."""
