"""Makes the reference exports in saved_models/: small versions of the headline models on built-in data.

    python examples/reference_exports.py [FOLDER]      (default saved_models; needs cdrzoo[serving]; two minutes)

Later versions of cdrzoo and of TensorFlow must still load them and get the scores that are recorded beside them, so a
version that is there is not made anew: what changes becomes the next version. (Version 1 was, once: it gave NaN for
numbers of 1e30.)
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import pandas as pd
import yaml

import cdrzoo
from cdrzoo.data import synthetic
from cdrzoo.export import save
from cdrzoo.serving import write_config

MODELS: dict[str, dict] = {
    "cctl": {},
    "dacdr": {},
    "dadin": {},
    "mkt": {"arguments": {"units": [64, 32]}, "first": {"expert_units": [64, 32], "tower_units": [16]}},
}
SIZES = {"users": 150, "source_rows": 3000, "target_rows": 1500, "source_items": 60, "target_items": 40}
TRAINING = {"batch_size": 128, "epochs": 2, "patience": 1}


def main(folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = synthetic.synthesize(**SIZES)
        made.write(scratch)
        for name, settings in MODELS.items():
            path = pathlib.Path(scratch) / "run.yaml"
            data = {domain: f"{domain}.csv" for domain in made.frames}
            config = {"schema": "schema.yaml", "data": data, "split": "time", "training": TRAINING}
            path.write_text(yaml.safe_dump({**config, "model": name, **settings}), encoding="utf-8")
            out = pathlib.Path(scratch) / name
            run = cdrzoo.train(path, out)
            card = {
                "data": {"synthesize": SIZES},
                "metrics": {"test": run.metrics["test"]},
                "intended_use": "A reference that later versions must still load and score alike; it knows little.",
            }
            examples = pd.read_parquet(out / "examples.parquet")
            exported = save(run.model, run.encoder, folder / name, examples=examples, card=card)
            print(run.verify(exported), flush=True)
    labels = {name: {"stable": 1, "canary": 1} for name in MODELS}
    if not (folder / "models.config").exists():
        print(write_config(folder, labels))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "saved_models"))
