"""The production pipeline: the schema, data and models of cdrzoo, trained, judged and pushed by TFX.

    python -m tfx_pipeline run CONFIG
    python -m tfx_pipeline compile CONFIG --image IMAGE --to vertex.json

It imports cdrzoo; cdrzoo never imports it. TFX is imported by `_tfx.py` alone.
"""
