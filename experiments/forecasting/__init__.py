"""What comes next in a series? Recurrent forecasters beside the classical ones."""
