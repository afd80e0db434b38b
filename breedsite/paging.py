"""Lists of the API: a page at a time, filtered, in an order that stays while rows come and go.

    RUNS = Listing(show=row, filters={"status": one_of("status", Status.values)}, orders=("-id", "id", "name"))

    def get(self, request: Request) -> Response:
        return RUNS.answer(request, TrainingRun.objects.all())

`?after=` names the last row of the page before, never an offset: the last page costs what the first does, and no row
comes twice or is passed over because another came or went. What a list does not know it refuses, by name: a filter that
is not understood must not mean "all".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.problems import Refused

PAGE_SIZE, MOST_ROWS = 50, 100
MOST = 2**63 - 1  # a database's largest number
OWN = ("page_size", "after", "order")


@dataclass(frozen=True)
class Filter:
    """One name behind the question mark: the condition that its text stands for, and what the documentation says."""

    condition: Callable[[str, str], Q]  # of its name and its text; raises Refused
    schema: Mapping[str, Any]
    help: str


def one_of(column: str, values: Any, help: str = "") -> Filter:
    known = [str(value) for value in values]

    def condition(name: str, text: str) -> Q:
        if text not in known:
            raise Refused("malformed_request", f"{name} is one of {', '.join(known)}.")
        return Q(**{column: text})

    return Filter(condition, {"type": "string", "enum": known}, help)


def exactly(column: str, help: str = "", *, max_length: int = 255) -> Filter:
    def condition(name: str, text: str) -> Q:
        if len(text) > max_length or "\0" in text:
            raise Refused("malformed_request", f"{name} is a text of at most {max_length} characters.")
        return Q(**{column: text})

    return Filter(condition, {"type": "string", "maxLength": max_length}, help)


def number_of(column: str, help: str = "") -> Filter:
    def condition(name: str, text: str) -> Q:
        return Q(**{column: whole(name, text)})

    return Filter(condition, {"type": "integer", "minimum": 0, "maximum": MOST}, help)


def yes_or_no(column: str, help: str = "") -> Filter:
    def condition(name: str, text: str) -> Q:
        if text not in ("true", "false"):
            raise Refused("malformed_request", f"{name} is true or false.")
        return Q(**{column: text == "true"})

    return Filter(condition, {"type": "boolean"}, help)


@dataclass(frozen=True)
class Listing:
    """How rows of one kind are listed. `orders` are columns, with a minus for the largest first; the first is taken
    where none is asked for. Each must stay as it is while the row is there, and never be null. `key` is a number that
    names a row within the list, called `id` outside."""

    show: Callable[[Any], dict[str, Any]]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    orders: tuple[str, ...] = ("-id",)
    key: str = "pk"

    def answer(self, request: Request, rows: QuerySet[Any]) -> Response:
        """One page. Raises Refused."""
        asked = query(request, *OWN, *self.filters)
        size = whole("page_size", asked.get("page_size", str(PAGE_SIZE)), low=1, high=MOST_ROWS)
        order = asked.get("order", self.orders[0])
        if order not in self.orders:
            raise Refused("malformed_request", f"order is one of {', '.join(self.orders)}.")
        chosen = rows
        for name, filter_ in self.filters.items():
            if name in asked:
                chosen = chosen.filter(filter_.condition(name, asked[name]))
        if "after" in asked:
            chosen = chosen.filter(self.beyond(rows, order, whole("after", asked["after"])))
        found = list(chosen.order_by(*self.columns(order))[: size + 1])
        more, shown = len(found) > size, found[:size]
        later = f"{request.path}?{urlencode(asked | {'after': getattr(shown[-1], self.key)})}" if more else None
        return Response({"results": [self.show(row) for row in shown], "next": later})

    def columns(self, order: str) -> list[str]:
        """What the database sorts by: the key decides between equals."""
        sign, column = sign_of(order), order.removeprefix("-")
        return [sign + self.key] if column == "id" else [sign + column, sign + self.key]

    def beyond(self, rows: QuerySet[Any], order: str, key: int) -> Q:
        """Those that come after the row of that key."""
        past, column = ("lt" if sign_of(order) else "gt"), order.removeprefix("-")
        later = Q(**{f"{self.key}__{past}": key})
        if column == "id":
            return later
        place = rows.filter(**{self.key: key}).values_list(column, flat=True).first()
        if place is None:
            raise Refused("malformed_request", f"There is no row {key} any more after which to go on: begin again.")
        return Q(**{f"{column}__{past}": place}) | (Q(**{column: place}) & later)

    @property
    def parameters(self) -> list[OpenApiParameter]:
        """What the documentation says of the query."""
        size = {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": PAGE_SIZE}
        after = {"type": "integer", "minimum": 0, "maximum": MOST}
        order = {"type": "string", "enum": list(self.orders), "default": self.orders[0]}
        return [
            *(OpenApiParameter(name, dict(one.schema), description=one.help) for name, one in self.filters.items()),
            OpenApiParameter("page_size", size, description="Rows on a page."),
            OpenApiParameter("after", after, description="The last row of the page before; `next` has it."),
            OpenApiParameter("order", order, description="With a minus the largest, or the latest, comes first."),
        ]


def sign_of(order: str) -> str:
    return "-" if order.startswith("-") else ""


def page_of(name: str, row: type[serializers.BaseSerializer]) -> serializers.Serializer:
    """What a page of such rows looks like, for the documentation."""
    later = serializers.CharField(allow_null=True, help_text="Address of the next page; null on the last one.")
    return inline_serializer(name, {"results": row(many=True), "next": later})


def query(request: Request, *names: str) -> dict[str, str]:
    """What stands behind the question mark. Raises Refused for another name, and for one that stands there twice."""
    for name in request.query_params:
        if name not in names:
            known = f"it knows {', '.join(names)}" if names else "nothing is asked here"
            raise Refused("malformed_request", f"This address does not know {name[:50]!r}: {known}.")
        if len(request.query_params.getlist(name)) > 1:
            raise Refused("malformed_request", f"{name} stands in the address more than once.")
    return {name: str(request.query_params[name]) for name in request.query_params}


def whole(name: str, text: str, *, low: int = 0, high: int = MOST) -> int:
    """A number of a query. Raises Refused."""
    if text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high:
        return int(text)
    within = f"from {low} to {high}" if high < MOST else "that a row has"
    raise Refused("malformed_request", f"{name} is a whole number {within}.")
