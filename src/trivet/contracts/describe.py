"""Reads the model of an API from an app's modules.

Whatever is wrong is collected, not raised: an app reports all of it in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivet.contracts.jobs import jobs as platform_jobs
from trivet.contracts.model import Api, ApiEdge, ApiOperation
from trivet.contracts.paths import CustomMethods, template_problem, written
from trivet.contracts.result import result_of
from trivet.contracts.rules import api_faults, edge_clash, edge_faults, edge_title, error_faults, operation_faults
from trivet.contracts.subject import subject_of
from trivet.contracts.wiretypes import wire_of
from trivet.core.about import About
from trivet.core.declaration import Kind
from trivet.core.fault import Fault
from trivet.core.module import Module
from trivet.core.naming import NamingError, Noun, Subject, face_of, nouns_of
from trivet.core.operation import Operation
from trivet.core.typeinfo import describe_together


def describe(
    app_name: str,
    modules: Sequence[Module],
    custom_methods: CustomMethods = "colon",
    about: About | None = None,
) -> tuple[Api, list[Fault]]:
    """Read the model of an API from an app's modules.

    Args:
        app_name: Names the API in documents.
        modules: All modules of the app.
        custom_methods: How a custom method is written in a path.
        about: What the app says about itself.

    Returns:
        The model of everything that is right, and a fault for everything that is not.
    """
    faults: list[Fault] = []
    resolved: list[tuple[Operation[..., Any], Subject]] = []
    for module in modules:
        for operation in module.operations:
            try:
                resolved.append((operation, subject_of(operation)))
            except TypeError as unresolved:
                faults.append(
                    Fault(
                        rule="signature",
                        place=operation.place,
                        problem=f"{operation.id}: {unresolved}",
                        mend="Annotate every parameter and the result with types that can be imported there.",
                    )
                )
    if any(operation.kind is Kind.JOB for operation, _ in resolved):
        resolved.extend((operation, subject_of(operation)) for operation in platform_jobs.operations)
    describe_together(wire_of(type) for operation, _ in resolved for type in operation.signature.types)
    nouns = _nouns(resolved, faults)
    by_word: dict[str, list[Noun]] = {}
    for noun in nouns.values():
        for word in filter(None, (noun.singular, noun.plural)):
            by_word.setdefault(word, []).append(noun)
    operations = [
        described
        for operation, subject in resolved
        if not operation.declaration.access.internal
        and (described := _described(operation, subject, _relevant(subject, by_word), custom_methods, faults))
        is not None
    ]
    api = Api(
        name=app_name,
        modules=tuple(modules),
        operations=tuple(operations),
        edges=_edges(modules, faults),
        nouns=nouns,
        custom_methods=custom_methods,
        about=about or About(),
    )
    for operation, _ in resolved:
        faults.extend(operation_faults(operation))
    faults.extend(api_faults(api))
    faults.extend(error_faults(modules))
    return api, faults


def _nouns(resolved: Sequence[tuple[Operation[..., Any], Subject]], faults: list[Fault]) -> dict[str, Noun]:
    try:
        return nouns_of([subject for _, subject in resolved])
    except NamingError:
        agreeing: list[Subject] = []
        for operation, subject in resolved:
            try:
                nouns_of([*agreeing, subject])
                agreeing.append(subject)
            except NamingError as disagreeing:
                faults.append(
                    Fault(
                        rule="collection",
                        place=operation.place,
                        problem=f"{operation.id}: {disagreeing}",
                        mend=disagreeing.mend,
                    )
                )
        return nouns_of(agreeing)


def _relevant(subject: Subject, by_word: Mapping[str, Sequence[Noun]]) -> dict[str, Noun]:
    """Return the nouns that an operation's name can end in or its parents can be: no name is held against all."""
    parts = subject.name.split("_")
    words = ["_".join(parts[start:]) for start in range(1, len(parts))]
    words += [name.removesuffix("_id") for name in subject.parameters]
    return {noun.singular: noun for word in words for noun in by_word.get(word, ())}


def _described(
    operation: Operation[..., Any],
    subject: Subject,
    nouns: Mapping[str, Noun],
    custom_methods: CustomMethods,
    faults: list[Fault],
) -> ApiOperation | None:
    try:
        face = face_of(subject, nouns, operation.module.prefix)
        path = f"/v{operation.version}{written(face.path, custom_methods)}"
        problem = template_problem(path)
        if problem:
            raise NamingError(problem, "Segments are words or {parameter}; only the last may end in :verb.")
    except NamingError as unnamed:
        faults.append(
            Fault(rule="path", place=operation.place, problem=f"{operation.id}: {unnamed}", mend=unnamed.mend)
        )
        return None
    signature = operation.signature
    return ApiOperation(
        operation=operation, face=face, path=path, signature=signature, result=result_of(signature.result)
    )


def _edges(modules: Sequence[Module], faults: list[Fault]) -> dict[Any, dict[str, ApiEdge]]:
    found: dict[Any, dict[str, ApiEdge]] = {}
    for edge in (edge for module in modules for edge in module.edges):
        try:
            signature = edge.signature
        except TypeError as unresolved:
            mend = "Write async def edge(ctx: Read, parents: Sequence[Shape], ...) -> Sequence[Value]."
            problem = f"{edge_title(edge)}: {unresolved}"
            faults.append(Fault(rule="signature", place=edge.place, problem=problem, mend=mend))
            continue
        faults.extend(edge_faults(edge))
        described = ApiEdge(edge=edge, signature=signature, result=result_of(signature.result))
        first = found.setdefault(edge.source, {}).setdefault(edge.name, described)
        if first is not described:
            faults.append(edge_clash(edge, first.edge))
    return found
