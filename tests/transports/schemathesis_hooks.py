"""What schemathesis cannot know from the contract: a page token is not something that one makes up.

Used with ``SCHEMATHESIS_HOOKS=tests.transports.schemathesis_hooks``.
"""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("page-token", st.nothing())
