"""``python -m augmint``, which is how torchrun starts it on several processes."""

import sys

from augmint.cli import main

sys.exit(main())
