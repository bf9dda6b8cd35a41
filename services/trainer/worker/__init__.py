"""The training child: `python -m services.trainer.worker FD`, one job, one process, one MLX thread.

A process of its own because a failed allocation in MLX ends the process, and because exiting is
the only way to give all memory back.
"""
