"""The cases of Connect's conformance suite for servers, and where each is covered here.

The runner of https://github.com/connectrpc/conformance is released on GitHub alone, so its cases (at 3f01b2e) are named
instead, suite by suite, as ``suite/case``. A value is the test that covers it; those in `HERE` are asked in
`test_conformance`, over every protocol that the suite names. gRPC-Web has no cases that stream in.
"""

from __future__ import annotations

HERE = "tests/rpc/test_conformance.py"
PROTOCOLS = "tests/rpc/test_protocols.py"

CODES = (
    "canceled", "unknown", "invalid-argument", "deadline-exceeded", "not-found", "already-exists", "permission-denied",
    "resource-exhausted", "failed-precondition", "aborted", "out-of-range", "unimplemented", "internal", "unavailable",
    "data-loss", "unauthenticated",
)  # fmt: skip

ERRORS = f"{HERE}::test_every_code_is_said"
DETAILS = f"{HERE}::test_an_error_has_its_message_and_its_fields"
SUCCESS = f"{HERE}::test_a_call_succeeds"
STREAM = f"{HERE}::test_a_stream_succeeds"
UNEXPECTED = f"{HERE}::test_what_is_unexpected_is_refused"
SIZE = f"{HERE}::test_a_message_may_have_the_limit_and_no_more"

TAKEN = f"{HERE}::test_streams_that_come_in_are_answered"
FAILED = f"{HERE}::test_streams_that_come_in_fail_with_what_was_answered_before"
METADATA = f"{HERE}::test_streams_that_come_in_have_metadata"
SIZES = f"{HERE}::test_each_message_of_a_stream_may_have_the_limit"
WAITED = f"{HERE}::test_streams_that_come_in_end_at_the_time_that_the_caller_gives"

COVERED: dict[str, str] = {
    **{
        f"basic/{case}": TAKEN
        for case in (
            "client-stream/success", "client-stream/no-requests", "bidi-stream/full-duplex/success",
            "bidi-stream/half-duplex/success", "bidi-stream/half-duplex/no-requests",
            "bidi-stream/half-duplex/no-responses",
        )
    },
    **{
        f"errors/{case}": FAILED
        for case in (
            "client-stream/error-one-request", "client-stream/error-multiple-requests",
            "client-stream/error-with-metadata", "bidi-stream/error-with-metadata",
            "bidi-stream/full-duplex/error-no-responses", "bidi-stream/full-duplex/error-with-responses",
            "bidi-stream/half-duplex/error-with-no-responses", "bidi-stream/half-duplex/error-with-responses",
        )
    },
    **{
        f"duplicate_metadata/{case}": METADATA
        for case in (
            "client-stream/success", "client-stream/error", "bidi-stream/full-duplex/success",
            "bidi-stream/full-duplex/error-no-responses", "bidi-stream/full-duplex/error-with-responses",
            "bidi-stream/half-duplex/success", "bidi-stream/half-duplex/error-with-no-responses",
            "bidi-stream/half-duplex/error-with-responses",
        )
    },
    **{
        f"server_message_size/{kind}/{case}": SIZES
        for kind in ("client-stream", "bidi-stream/full-duplex", "bidi-stream/half-duplex")
        for case in (
            "all-requests-equal-to-server-limit", "first-request-exceeds-server-limit",
            "subsequent-request-exceeds-server-limit",
        )
    },
    "server_empty/client-stream/empty-request": TAKEN,
    "server_empty/bidi-stream/half-duplex/empty-request": TAKEN,
    "deadline_propagation/client-stream/success": WAITED,
    "deadline_propagation/bidi-stream/full-duplex/success": WAITED,
    "timeouts/client-stream": WAITED,
    "timeouts/bidi-stream/full-duplex": WAITED,
    "timeouts/bidi-stream/half-duplex": WAITED,
    "basic/unary/success": SUCCESS,
    "basic/server-stream/success": STREAM,
    "basic/server-stream/no-responses": STREAM,
    "basic/unimplemented": UNEXPECTED,
    **{f"connect_client_code_to_http_code/unary/{code}": ERRORS for code in CODES if code != "failed-precondition"},
    "connect_client_code_to_http_code/unary/failed-precondition-mapping": ERRORS,
    "connect_client_code_to_http_code/server-stream/error-returns-success-http-code": ERRORS,
    **{
        f"connect_server_unexpected/{case}": UNEXPECTED
        for case in (
            "server-stream/no-request", "server-stream/multiple-requests", "unexpected-verb", "unexpected-uri",
            "unexpected-codec", "unexpected-compression", "unexpected-compressed-message",
        )
    },
    "connect_with_get/success": f"{PROTOCOLS}::test_a_query_can_be_got_and_a_command_can_not",
    "deadline_propagation/unary/success": f"{HERE}::test_the_time_that_a_caller_gives_arrives",
    "deadline_propagation/server-stream/success": f"{HERE}::test_the_time_that_a_caller_gives_arrives",
    "duplicate_metadata/unary/success": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    "duplicate_metadata/unary/error": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    "duplicate_metadata/server-stream/success": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    "duplicate_metadata/server-stream/no-response": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    "duplicate_metadata/server-stream/error-with-responses": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    "duplicate_metadata/server-stream/error-with-no-responses": f"{HERE}::test_metadata_that_is_there_twice_is_one",
    **{f"errors/{kind}/{code}": ERRORS for kind in ("unary", "server-stream") for code in CODES},
    "errors/unary/error-with-metadata": DETAILS,
    "errors/unary/unicode-error-message": DETAILS,
    "errors/server-stream/error-with-metadata": DETAILS,
    "errors/server-stream/error-with-responses": ERRORS,
    "errors/server-stream/error-with-no-responses": ERRORS,
    **{
        f"{suite}_server_unexpected/{case}": UNEXPECTED
        for suite in ("grpc", "grpc_web")
        for case in (
            "unary/no-request", "unary/multiple-requests", "server-stream/no-request",
            "server-stream/multiple-requests", "unexpected-verb", "unexpected-uri", "unexpected-codec",
            "unexpected-compression", "unexpected-compressed-message",
        )
    },
    "grpc_server_proto_subformat/with-proto-sub-format": SUCCESS,
    "grpc_server_proto_subformat/without-proto-sub-format": SUCCESS,
    "grpc_web_server_proto_subformat/with-proto-sub-format": SUCCESS,
    "grpc_web_server_proto_subformat/without-proto-sub-format": SUCCESS,
    "server_empty/unary/empty-request": SUCCESS,
    "server_empty/server-stream/empty-request": STREAM,
    "server_message_size/unary/request-equal-to-server-limit": SIZE,
    "server_message_size/unary/request-exceeds-server-limit": SIZE,
    "server_message_size/server-stream/request-equal-to-server-limit": SIZE,
    "server_message_size/server-stream/request-exceeds-server-limit": SIZE,
    "server_unexpected/unexpected-content-type": UNEXPECTED,
    "timeouts/unary": f"{PROTOCOLS}::test_the_caller_says_how_long_it_waits",
}  # fmt: skip

NOT_OURS: dict[str, str] = {
    "timeouts/server-stream": "streams that only go out have an idle time and an age, no deadline; grpcio ends its own",
    "tls_client_certs/client-stream": "tests/server/test_tls.py and "
    "tests/rpc/test_client.py::test_both_sides_show_certificates ask for certificates in unary calls",
}
"""What a server of Trivet does differently, and why."""
