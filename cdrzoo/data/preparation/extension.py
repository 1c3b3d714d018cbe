"""The encoder of a trained model, extended by a domain that did not exist when it was adapted."""

from __future__ import annotations

from cdrzoo.data.encoder import Encoder
from cdrzoo.data.raw import as_numbers
from cdrzoo.errors import DataError


def extend(encoder: Encoder, further: Encoder) -> Encoder:
    """What `encoder` knows stays as it is, row by row; what it lacks comes from `further`.

    A table that both know keeps the vocabulary of `encoder`: an id that only `further` saw there is unknown (row 1),
    because the trained table has no row for it. Tables and numbers that `encoder` lacks are those of `further`.

    Args:
        encoder: the encoder of the trained model.
        further: an encoder adapted on training rows of a schema that has the new domain too.

    Returns:
        A new encoder with the schema of `further`.

    Raises:
        DataError: when the two spell the ids of a table differently.

    Example:

    ```python
    fresh = data.prepare(schema, sources)  # schema: the old domains and the new one, its target
    prepared = data.prepare(schema, sources, encoder=data.extend(trained_encoder, fresh.encoder))
    model = DACDR.for_new_domain(trained, prepared.schema)
    ```
    """
    for known in (encoder, further):
        known._check_adapted()
    extended = Encoder(further.schema)
    for table in encoder.lookups.keys() & further.lookups.keys():
        if as_numbers(encoder.schema, table) != as_numbers(further.schema, table):
            raise DataError(
                f"Table {table!r} holds numbers for one encoder and strings for the other, so its ids cannot be "
                "matched. Give every feature that looks it up the dtype it had when the model was trained."
            )
    extended.set_vocabularies({**further.lookups, **encoder.lookups})
    numbers = {**further.numbers, **encoder.numbers}
    extended.schema = extended.schema.with_means(
        {key: label.mean for key, label in encoder.schema.outputs.items()}
    )
    extended.numbers = {domain.name: numbers[domain.name] for domain in further.schema.domains}
    return extended
