"""One operation as REST serves it: what is read, negotiated and answered, decided when the app is built."""

from __future__ import annotations

from typing import Any

from trivet.contracts.jobs import STATUS_PATH
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import NotAcceptable
from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.decode import Decoder
from trivet.core.idempotency import key_of
from trivet.core.precondition import Current, PreconditionFailed, Verdict, decide
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.disconnect import Watches
from trivet.transports.intake import Intakes
from trivet.transports.rest import body
from trivet.transports.rest.bind import Binder, Slot
from trivet.transports.rest.caching import Caching
from trivet.transports.rest.coding import NO_CODING, Codings
from trivet.transports.rest.conditions import FIELDS, for_change, for_reading
from trivet.transports.rest.exchange import RestCall
from trivet.transports.rest.expand import Expander
from trivet.transports.rest.lines import Lines
from trivet.transports.rest.media import accepts
from trivet.transports.rest.render import Locate, encoder_of
from trivet.transports.rest.reply import NO_RANGES, NOSNIFF, Reply, current_of, held
from trivet.transports.rest.validator import body_state, row_state

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
BARE: list[tuple[bytes, bytes]] = [NOSNIFF]


class Endpoint:
    """One operation as REST serves it.

    Args:
        op: The operation and its face.
        api: The model of the app.
        runtime: What is open while the process runs.
        watches: Stops what is done for clients that went away.
        intakes: Reads items that come in.
        codings: What answers can be sent in.
        locate: Tells where what the operation creates is found, if anywhere.

    Attributes:
        handler: The gate, then binding, then the call chain.
        streams: Whether the answer is a stream.
    """

    def __init__(
        self,
        op: ApiOperation,
        api: Api,
        runtime: Runtime,
        watches: Watches,
        intakes: Intakes,
        codings: Codings,
        locate: Locate | None = None,
    ) -> None:
        self.op = op
        self.operation = op.operation
        self.streams = self.operation.kind is Kind.STREAM
        self._status = op.face.status
        self._locate = locate
        expands = self.operation.kind in (Kind.QUERY, Kind.COMMAND)
        expander = (Expander(op, api) or None) if expands else None  # it is false where there is nothing to expand
        extra = [Slot("expand", str)] if expander else []
        self._binder = Binder(op, extra)
        self._encode = encoder_of(op)
        self._limit = runtime.settings.limits.body
        self._runtime = runtime
        self._codings = codings
        self._reads = op.face.method == "GET"
        self._changes = self.operation.kind.writes
        self._row_state = row_state(op, runtime.plans)
        self._caching = Caching(op, runtime.default_principal) if self._reads else None
        varies = [*((b"accept-encoding",) if codings.varies else ()), *(self._caching.varies if self._caching else ())]
        # What no cache keeps has no need to say what it depends on (RFC 9110 section 12.5.5).
        self._kept = [(b"vary", b", ".join(varies))] if varies and self._reads else []
        self._fields = [(b"content-type", b"application/json"), NOSNIFF, *((NO_RANGES,) if self._reads else ())]
        inner = runtime.handlers.root[self.operation]
        if self.operation.takes:
            bound = self._taking(inner, watches, intakes)
        else:
            bound = self._streaming(inner) if self.streams else self._answering(inner, expander, watches)
        self.handler: Handler = chain.gate(self.operation, runtime, bound)

    def __str__(self) -> str:
        return f"{self.op.id} ({self.operation.place})"

    def reply(self, call: RestCall, outcome: Outcome) -> Reply:
        """Return what answers a success."""
        if call.timing is not None and self._changes:
            call.timing.ends("commit")
        body = outcome.body or b""
        status = self._status if body or self._status != 200 else 204
        reply = Reply(status, self._kept, self._fields if body else BARE, body)
        if self._locate is not None:
            where = self._locate(outcome.value, call.arguments)
            reply.fields = [*reply.fields, (b"location", f"{call.root}{where}".encode())]
        elif self.operation.kind is Kind.JOB:
            where = f"{STATUS_PATH}{outcome.value.id}"
            reply.fields = [*reply.fields, (b"location", f"{call.root}{where}".encode())]
        if outcome.value is not None:
            row = self._row_state(outcome.value) if self._row_state is not None else None
            composed = row is None or call.expand is not None
            reply.state = body_state(body, row) if composed and self._reads else row
        if self._caching is not None:
            reply.kept = [*self._caching.fields(call.principal), *self._kept]
            reply.fields = [*reply.fields, *self._caching.tags(call.principal, call.arguments)]
        return reply

    def _answering(self, inner: Handler, expander: Expander | None, watches: Watches) -> Handler:
        binder, encode, limit = self._binder, self._encode, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            self._negotiate(call)
            if described is None:
                body.refuse_content(call)
                arguments = binder.head(call)
            else:
                arguments = binder.bind(call, await body.read(call, described, limit))
            if expander is not None:
                _expanding(call, arguments, expander)
            call.arguments = arguments
            call.encode = encode
            if not FIELDS.isdisjoint(call.fields):
                self._conditions(call)
            if self._changes:
                key = call.fields.get(b"idempotency-key")
                if key is not None:
                    call.idempotency_key = key_of(key)
            if call.timing is not None:
                _timed(call)
            watches.start(call)
            try:
                return await inner(call)
            finally:
                watches.stop(call)

        return answer

    def _negotiate(self, call: RestCall) -> None:
        """Decide in which form the answer goes out.

        Raises:
            NotAcceptable: None that can be sent is acceptable.
        """
        if call.timing is not None:
            call.timing.ends("gate")
        accept = call.fields.get(b"accept")
        if accept is not None and not accepts(accept, JSON):
            raise NotAcceptable(available=(JSON,))
        choice = self._codings.choose(call.fields.get(b"accept-encoding"))
        if choice is None:
            raise NotAcceptable(detail=NO_CODING, available=(JSON,))
        call.choice = choice

    def _conditions(self, call: RestCall) -> None:
        """Read what the request takes for granted, and spare the encoding of what the caller has already.

        Raises:
            PreconditionFailed: A query that is sent by ``POST`` has no version to compare.
        """
        now = self._runtime.clock.now()
        if self._changes:
            call.precondition = for_change(call.fields, now)
        elif not self._reads:
            given = for_change(call.fields, now)
            if given is not None and decide(given, Current(), reads=False) is not Verdict.HOLDS:
                raise PreconditionFailed(detail="What a query finds has no versions when it is sent by POST.")
        else:
            given = call.given = for_reading(call.fields, now)
            state_of, encode = self._row_state, call.encode
            if given is None or state_of is None or encode is None or call.expand is not None:
                return

            def encode_news(value: Any) -> bytes:
                if value is not None:
                    state = state_of(value)
                    if held(state, call.choice, given) is not None:
                        verdict = decide(given, current_of(state, call.choice), reads=True)
                        if verdict is Verdict.UNCHANGED:
                            return b""
                return encode(value)

            call.encode = encode_news

    def _negotiate_events(self, call: RestCall) -> None:
        """Decide whether a stream can be answered.

        Raises:
            NotAcceptable: It can not be in a form that is acceptable.
        """
        accept = call.fields.get(b"accept")
        if accept is not None and not accepts(accept, EVENT_STREAM):
            raise NotAcceptable(available=(EVENT_STREAM,))
        choice = self._codings.choose(call.fields.get(b"accept-encoding"))
        if choice is None or not choice.identity:  # compressed, an event would wait for the next ones
            raise NotAcceptable(detail="A stream is not compressed.", available=(EVENT_STREAM,))

    def _taking(self, inner: Handler, watches: Watches, intakes: Intakes) -> Handler:
        binder, encode, limit = self._binder, self._encode, self._limit
        described = binder.body
        assert described is not None
        assert described.parameter is not None
        name, decode = described.parameter, Decoder[Any](described.type).json

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            (self._negotiate_events if self.streams else self._negotiate)(call)
            body.check_format(call, described)
            items = intakes.items(call, Lines(limit), decode)
            call.arguments = {**binder.head(call), name: items}
            if self.streams:
                return await inner(call)
            call.encode = encode
            return await items.answered(inner, watches)

        return answer

    def _streaming(self, inner: Handler) -> Handler:
        binder, limit = self._binder, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            self._negotiate_events(call)
            if described is None:
                body.refuse_content(call)
                call.arguments = binder.head(call)
            else:
                call.arguments = binder.bind(call, await body.read(call, described, limit))
            position = call.fields.get(b"last-event-id")
            if position:
                call.resume_after = position.decode("latin-1")
            return await inner(call)

        return answer


def _timed(call: RestCall) -> None:
    """Tell the time of the handler from that of encoding what it returned."""
    timing, encode = call.timing, call.encode
    assert timing is not None
    timing.ends("bind")
    if encode is None:
        return

    def timed(value: Any) -> bytes:
        timing.ends("handler")
        written = encode(value)
        timing.ends("encode")
        return written

    call.encode = timed


def _expanding(call: RestCall, arguments: dict[str, Any], expander: Expander) -> None:
    """Take ``expand`` out of the arguments and let the result be expanded by it."""
    word = arguments.pop("expand", None)
    if word is None:
        return
    paths = expander.paths_of(word)
    expander.check(paths, call.principal)

    async def expand(value: Any) -> Any:
        return await expander.expand(value, paths, call)

    call.expand = expand
