"""What schemathesis cannot know from the contract: no page token is made up, and no status is unheard of.

The contract has a `default` response for whatever a proxy on the way may answer. The shop itself answers with what is
listed, so that is what it is held to.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out cases that are valid but for their page token or position: no schema says which were given out.

    And those that are invalid and have an `If-None-Match`: one that can not be read is passed over, not refused.
    """
    invented = "page_token" in (case.query or {}) or "Last-Event-ID" in (case.headers or {})
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    passed_over = "If-None-Match" in (case.headers or {})
    return not (passed_over if negative else invented)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Leave out the response that stands for all statuses, and bodies of any number of lines, which no schema says."""
    raw_schema["paths"] = {
        path: methods
        for path, methods in raw_schema["paths"].items()
        if not any("application/x-ndjson" in m.get("requestBody", {}).get("content", {}) for m in methods.values())
    }
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            del operation["responses"]["default"]
