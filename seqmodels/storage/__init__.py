"""Files of users and of programs: read once, locked, escaped where they are shown."""
