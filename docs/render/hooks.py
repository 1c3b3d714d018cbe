"""What mkdocs does besides: a notebook is a page, with the outputs that it keeps."""

from __future__ import annotations

import json
import re
from typing import Any


def on_files(files: Any, config: Any) -> Any:
    """Adds a page for each notebook, which stays as a file to download."""
    from mkdocs.structure.files import File

    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = page(json.loads(file.content_string), file.src_uri.rpartition("/")[2])
            files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=text))
    return files


def on_page_markdown(markdown: str, **others: Any) -> str:
    """Links to a notebook lead to its page."""
    return re.sub(r"(\]\((?:\.\./)*notebooks/\w+)\.ipynb\)", r"\1.md)", markdown)


def page(book: dict[str, Any], name: str) -> str:
    """A notebook as Markdown. Links to other notebooks lead to their pages."""
    parts = []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((\w+)\.ipynb", r"](\1.md", source))
        else:
            parts += [f"```python\n{source}\n```", *map(_shown, cell["outputs"])]
    parts.append(f"[The notebook, to run it yourself]({name}){{download}}")
    return "\n\n".join(parts) + "\n"


def _shown(output: dict[str, Any]) -> str:
    """An output: a picture or a table where there is one, else its text."""
    data = {kind: "".join(found) for kind, found in output.get("data", {}).items()}
    if "image/png" in data:
        return f'<img alt="What the cell draws" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return f'<div class="output">{re.sub("<style.*?</style>", "", data["text/html"], flags=re.S)}</div>'
    text = "".join(output.get("text", "")) or data.get("text/plain", "")
    return f"```{{.text .output}}\n{text.rstrip()}\n```"
