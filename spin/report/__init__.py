"""The answer of a run: report.json for other tools, report.html and report.md for people, rows for RESULTS.md."""
