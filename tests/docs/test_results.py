"""The page of results says what the files of real runs say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_results_page_is_made_from_the_result_files(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = runpy.run_path(str(ROOT / "benchmarks/results.py"))["page"]()
    assert (ROOT / "docs/results.md").read_text() == page
