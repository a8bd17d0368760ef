"""What a profile will cost, before anything is spent."""
