"""Named real data, fetched once or shipped by a package."""
