"""The three services, the chassis they share, and the stack that runs them."""
