"""`python -m docs.render.notebooks [NAME...]` runs the notebooks of docs/notebooks and keeps what they give.

It wants the extra `test`. Each runs in an empty folder, so no path of this machine comes in.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
from typing import Any

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
SHOWN = ("text/html", "text/plain", "image/png")
"""What is kept of an output."""


def run(path: pathlib.Path) -> Any:
    """The notebook as it comes out now; a cell that fails is an error."""
    import nbformat
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager()
        manager.kernel_spec.argv[0] = sys.executable
        project = str(FOLDER.parents[1])
        env = {**os.environ, "PYTHONPATH": project, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0"}
        client = NotebookClient(book, timeout=900, km=manager, resources={"metadata": {"path": folder}})
        client.execute(env=env)
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_kept(output) for output in cell.outputs if not _of_libraries(output)]
    book.metadata = {"kernelspec": book.metadata["kernelspec"], "language_info": {"name": "python"}}
    return book


def _of_libraries(output: Any) -> bool:
    """Whether it is what TensorFlow says of itself."""
    return output.get("name") == "stderr" or output.get("text", "").startswith(
        ("INFO:tensorflow", "WARNING:tensorflow")
    )


def _kept(output: Any) -> Any:
    if "data" in output:
        output.data = {kind: value for kind, value in output.data.items() if kind in SHOWN}
    return output


def main() -> None:
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            nbformat.write(run(path), path)
            print(path.name, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()
