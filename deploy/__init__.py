"""What runs the hub elsewhere than in a checkout, and what watches it."""
