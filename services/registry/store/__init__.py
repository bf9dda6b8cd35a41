"""All SQL of the registry, a module for each noun. Every method is one transaction."""
