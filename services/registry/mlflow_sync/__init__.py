"""The MLflow mirror: an experiment for each model, a run for each attempt at a job.

It lives in a process of its own, `python -m services.registry.mlflow_sync`, which the
registry starts when the outbox has work and which leaves when it has had none for a
while. Importing MLflow costs seconds of the interpreter's lock and more memory than the
registry itself, and a call of it can hang in a socket without any bound: a thread could
neither be kept off the event loop's back nor ended. A process is ended by its own alarm,
and the registry takes back what it had claimed.
"""
