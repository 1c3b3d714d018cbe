"""`python -m cdrzoo` is the command `cdrzoo`."""

from cdrzoo.cli import main

raise SystemExit(main())
