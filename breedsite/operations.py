"""What the OpenAPI document says of who may use an address, read from the view that asks for it."""

from typing import Any

from drf_spectacular.openapi import AutoSchema


class Operation(AutoSchema):
    def get_operation(self, *args: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args)
        sentence = needed(self.view, self.method)
        if operation is not None and sentence:
            operation["description"] = "\n\n".join(filter(None, [operation.get("description"), sentence]))
        return operation


def needed(view: Any, method: str) -> str:
    """The scope of a key and the permission of a person, in a sentence; empty where the view asks for neither."""
    scope = getattr(view, "scopes", {}).get(method)
    permission = getattr(view, "permissions", {}).get(method)
    return " ".join(
        sentence
        for sentence, given in [
            (f"A key needs the scope `{scope}`.", scope),
            (f"The account, a key's owner too, needs the permission `{permission}`.", permission),
        ]
        if given
    )
