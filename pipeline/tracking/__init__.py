"""Runs in MLflow; the only importer of it. What is recorded is kept on disk first, so that no server can stop a run."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the sender tries again, for as long as it takes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
