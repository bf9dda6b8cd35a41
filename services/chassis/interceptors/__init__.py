"""What happens around every call, outermost first: access log, tracing, metrics, errors,
validation. Each is one context manager that holds for a unary reply and for a whole stream, or one
look at each request that comes in."""
