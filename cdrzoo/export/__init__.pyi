from cdrzoo.export.rows import missing_rows as missing_rows
from cdrzoo.export.rows import parse_examples as parse_examples
from cdrzoo.export.rows import raw_rows as raw_rows
from cdrzoo.export.rows import serialize_rows as serialize_rows
from cdrzoo.export.saving import REPLAY_ROWS as REPLAY_ROWS
from cdrzoo.export.saving import save as save
from cdrzoo.export.verification import verify as verify
