"""Between the wire and the domain, nothing else: pure functions in pairs, by noun."""
