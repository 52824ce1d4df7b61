"""MLflow: one MLflow run for each run folder, with its settings, its hosts and its scalars."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.runtime.files import write_json

LIBRARY = "mlflow"
EXPERIMENT = "chorale"
RUN_ID = "mlflow.json"  # in the run folder: which MLflow run it is
LONGEST_TEXT = 5000  # characters of a tag or parameter; MLflow refuses more than 6000
STATUSES = {"done": "FINISHED", "early": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def open_tracker(run_dir: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> MLflow:
    """The MLflow run of this run folder, continued or new.

    It is stored where MLFLOW_TRACKING_URI says, else in mlflow.db beside the run folder.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # 40 lines about a new database
    from mlflow import MlflowClient
    from mlflow.entities import RunTag

    runs = run_dir.resolve().parent
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs}/mlflow.db")
    run = _continued(client, run_dir) or _new(client, run_dir, settings)
    tags = [RunTag(name, str(value)[:LONGEST_TEXT]) for name, value in facts.items()]
    client.log_batch(run, tags=tags)
    return MLflow(client, run)


class MLflow:
    """An open MLflow run."""

    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One batch of metrics; MLflow wants milliseconds."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics)

    def close(self, ended: str) -> None:
        """Give the MLflow run its status."""
        self._client.set_terminated(self._run, STATUSES[ended])


def _continued(client: Any, run_dir: Path) -> str | None:
    """The id of the MLflow run that this folder began; None where this store has none."""
    from mlflow.exceptions import MlflowException

    try:
        run = json.loads((run_dir / RUN_ID).read_text())["run_id"]
        client.update_run(run, status="RUNNING")
    except FileNotFoundError:
        return None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # the folder was copied to a host with a store of its own
    return str(run)


def _new(client: Any, run_dir: Path, settings: Mapping[str, Any]) -> str:
    """The id of a new MLflow run with the settings as its parameters; the folder keeps it."""
    from mlflow.entities import Param

    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    run = client.create_run(experiment, run_name=run_dir.resolve().name).info.run_id
    known = {
        name: str(value)[:LONGEST_TEXT] for name, value in settings.items() if value is not None
    }
    client.log_batch(run, params=[Param(name, value) for name, value in known.items()])
    write_json(run_dir / RUN_ID, {"run_id": run})
    return str(run)
