"""Every rpc of the public contract as a function that builds its call."""
