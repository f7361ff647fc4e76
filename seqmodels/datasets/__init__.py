"""Named real data sets, downloaded once or shipped by a package."""
