"""What a run leaves on the disk: written whole or not at all, read strictly."""
