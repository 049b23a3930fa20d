"""A ValidatingAdmissionPolicy, evaluated as the API server does: by CEL, without one."""

from __future__ import annotations

from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext.ext_optional import ExtOptional

_NAMES = ("object", "oldObject", "request", "variables")


class Fence:
    """What the policy says of requests. An expression that fails denies: `failurePolicy: Fail`."""

    def __init__(self, policy: dict[str, Any]) -> None:
        spec = policy["spec"]
        assert spec["failurePolicy"] == "Fail"
        self._cel = cel.NewEnv(variables=dict.fromkeys(_NAMES, cel.Type.DYN), extensions=[ExtOptional()])
        self._conditions = [self._cel.compile(each["expression"]) for each in spec["matchConditions"]]
        self._variables = {each["name"]: self._cel.compile(each["expression"]) for each in spec["variables"]}
        self._validations = [
            (self._cel.compile(each["expression"]), each["message"]) for each in spec["validations"]
        ]

    def refusals(
        self, request: dict[str, Any], old: dict[str, Any] | None, new: dict[str, Any] | None
    ) -> list[str] | None:
        """Why the request is refused, nothing when it is let in; None when it is not meant at all."""
        given: dict[str, Any] = {"request": request, "object": new, "oldObject": old, "variables": {}}
        if not all(each.eval(data=given).value() for each in self._conditions):
            return None
        variables: dict[str, Any] = {}
        for name, each in self._variables.items():
            value = each.eval(data=given)
            if value.type() != cel.Type.ERROR:
                variables[name] = value.plain_value()
        given["variables"] = variables
        return [message for each, message in self._validations if each.eval(data=given).value() is not True]
