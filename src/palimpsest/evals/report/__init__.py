"""What runs have shown: tables with intervals, comparisons item by item, and plots.

    runs = load_runs([Path("runs/memagent"), Path("runs/memocr")])
    report = report_of(runs)
    report.runs[0].cells[0].scores["f1"]  # mean, low, high
    print(as_markdown(report))

It reads run folders and writes nothing; `palimpsest.cli.report` does that.
"""

from __future__ import annotations

from palimpsest.evals.report.build import load_runs, report_of
from palimpsest.evals.report.records import Report, RunSummary
from palimpsest.evals.report.text import as_markdown, as_text

__all__ = ["Report", "RunSummary", "as_markdown", "as_text", "load_runs", "report_of"]
