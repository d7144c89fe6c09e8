"""What several features of the console share. Imports no feature."""
