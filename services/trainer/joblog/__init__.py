"""What is said about one job: lines in a file of its own, read by page and by tail."""
