"""What every experiment shares: configuration, command line, trainer, saved models, report."""
