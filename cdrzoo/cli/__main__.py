"""`python -m cdrzoo.cli`."""

from __future__ import annotations

import sys

from cdrzoo.cli.main import main

sys.exit(main())
