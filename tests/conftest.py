"""Fixtures that every tier may use; they live in tests/fixtures, by what they provide."""

pytest_plugins = [
    "tests.fixtures.jobs",
    "tests.fixtures.postgres",
    "tests.fixtures.registry",
    "tests.fixtures.scripted_registry",
    "tests.fixtures.stack",
    "tests.fixtures.starter",
    "tests.fixtures.tiny_adapters",
    "tests.fixtures.tiny_model",
    "tests.fixtures.trained",
    "tests.fixtures.worker",
    "tests.fixtures.trainer",
]
