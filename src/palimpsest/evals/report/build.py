"""A report made of run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from palimpsest.errors import InputError
from palimpsest.evals.report.pairing import comparisons
from palimpsest.evals.report.records import Report
from palimpsest.evals.report.summary import summarize
from palimpsest.evals.run import Run, load_run


def load_runs(folders: Sequence[Path]) -> dict[str, Run]:
    """The runs in these folders, by their labels. Raises `InputError` for none, for one named
    twice, and for a folder that is no run."""
    if not folders:
        raise InputError("no run is named", hint="give the folder of a run, or of several")
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice:
        raise InputError(f"{twice} is named twice", hint="name each run once")
    return dict(zip(_labels(resolved), map(load_run, folders), strict=True))


def report_of(runs: Mapping[str, Run]) -> Report:
    """What there is to say of runs, by their labels."""
    return Report(
        runs=tuple(summarize(run, label) for label, run in runs.items()),
        comparisons=tuple(comparisons(runs)),
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    longest = max(len(folder.parts) for folder in folders)
    for length in range(1, longest + 1):
        labels = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(labels)) == len(labels):
            break
    return labels
