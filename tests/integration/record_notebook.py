"""Writes the outputs of a run against the stand-in into the notebook: python -m tests.integration.record_notebook."""

from __future__ import annotations

import nbformat

from tests.integration.test_notebook import NOTEBOOK, executed, printed_by


def record() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    run = executed().cells[1:-1]
    count = 0
    for cell, ran in zip(notebook.cells, run):
        if cell.cell_type != "code":
            continue
        count += 1
        text = printed_by(ran)
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    record()
