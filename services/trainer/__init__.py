"""Trains LoRA adapters: a queue in Postgres, a supervisor, and one child process for each job."""
