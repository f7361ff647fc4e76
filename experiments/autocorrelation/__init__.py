"""Does the past of a series tell of its present? Its correlogram, and what that says, in words."""
