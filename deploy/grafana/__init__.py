"""Dashboards as code: `make dashboards` writes them into dashboards/."""
