"""The machine under the hub: what its sensors say, for Prometheus."""
