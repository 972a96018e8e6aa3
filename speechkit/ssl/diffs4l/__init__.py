"""The experiment of DiffS4L from a corpus to a table: `speechkit ssl diffs4l`."""

from speechkit.ssl.diffs4l.config import Arm, Experiment
from speechkit.ssl.diffs4l.program import ExperimentReport, run_experiment

__all__ = ["Arm", "Experiment", "ExperimentReport", "run_experiment"]
