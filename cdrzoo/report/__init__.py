"""Reports: self-contained HTML pages of runs, comparisons and transfer reports."""
