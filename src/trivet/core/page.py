"""Lists are answered in pages, in keyset order (Google AIP-158)."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import Meta

from trivet.core.shape import Struct

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100

PageToken = Annotated[str, Meta(min_length=1, max_length=2048)]


class PageRequest(Struct):
    """Which page a caller asks for."""

    page_size: Annotated[int, Meta(ge=0, le=2**31 - 1, description="0 means the default; more than 100 gives 100")] = 0
    page_token: PageToken | None = None

    @property
    def limit(self) -> int:
        """How many items the page holds at most: `page_size`, its default for 0, never over the maximum."""
        return min(self.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class Page(Struct, Generic[T], omit_defaults=True):
    """One page of a list; without `next_page_token` it is the last one."""

    items: Annotated[list[T], Meta(max_length=MAX_PAGE_SIZE)]
    next_page_token: PageToken | None = None


class CursorRequest(PageRequest):
    """A page request of a caller that wants to know tokens: of every item, or of the last one only.

    A table answers it with a `CursorPage`; any other page is as good an answer, with fewer tokens.
    """

    every: bool = False


class CursorPage(Page[T]):
    """A page with the tokens after which the list goes on: one for each item, or only the last item's."""

    cursors: tuple[PageToken, ...] = ()
