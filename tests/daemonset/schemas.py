"""Objects against the schemas of Kubernetes, and of the two operators whose objects are used."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
from jsonschema.protocols import Validator
from kubernetes_validate.utils import SchemaNotFoundError

VERSIONS = ("1.30", "1.34", "1.37")
"""The oldest that the gate's policy works with, the one that clusters have, the newest known."""


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _all(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


_TEXT = {"type": "string", "minLength": 1}
_NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
_PROMETHEUS_TIME = {"type": "string", "pattern": r"^(\d+(ms|s|m|h|d|w|y))+$"}
_GO_TIME = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}
_REFERENCE = _object("name", "kind", name=_TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]})

# What is used of them, as their API references say; whatever else is a mistake until it is added here.
_SPECS = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        "selector",
        "podMetricsEndpoints",
        selector=_object("matchLabels", matchLabels=_NAMES),
        podMetricsEndpoints=_all(
            _object(
                "port",
                port=_TEXT,
                relabelings=_all(
                    _object("sourceLabels", "targetLabel", sourceLabels=_all(_TEXT), targetLabel=_TEXT)
                ),
            )
        ),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        "groups",
        groups=_all(
            _object(
                "name",
                "rules",
                name=_TEXT,
                rules=_all(
                    {
                        **_object(
                            "alert",
                            "expr",
                            "labels",
                            "annotations",
                            alert=_TEXT,
                            expr=_TEXT,
                            labels=_NAMES,
                            annotations=_NAMES,
                        ),
                        "patternProperties": {"^for$": _PROMETHEUS_TIME},
                    }
                ),
            )
        ),
    ),
    ("cert-manager.io/v1", "Issuer"): {
        **_object(selfSigned=_object(), ca=_object("secretName", secretName=_TEXT)),
        "minProperties": 1,
        "maxProperties": 1,
    },
    ("cert-manager.io/v1", "Certificate"): _object(
        "secretName",
        "issuerRef",
        secretName=_TEXT,
        issuerRef=_REFERENCE,
        isCA={"type": "boolean"},
        commonName={"type": "string", "maxLength": 64},
        dnsNames=_all(_TEXT),
        duration=_GO_TIME,
        renewBefore=_GO_TIME,
        usages=_all({"enum": ["digital signature", "key encipherment", "server auth", "client auth"]}),
        privateKey=_object(
            "algorithm",
            "size",
            algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
            size={"type": "integer"},
            rotationPolicy={"enum": ["Always", "Never"]},
        ),
    ),
}
_METADATA = _object("name", "namespace", name=_TEXT, namespace=_TEXT, labels=_NAMES, annotations=_NAMES)


@cache
def _custom(api_version: str, kind: str) -> Validator:
    spec = _SPECS[api_version, kind]
    whole = _object(
        "metadata",
        "spec",
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )
    return jsonschema.Draft202012Validator(whole)


def is_custom(thing: dict[str, Any]) -> bool:
    """Whether it is an object of another operator, not of Kubernetes itself."""
    return (thing["apiVersion"], thing["kind"]) in _SPECS


def validate(thing: dict[str, Any], version: str) -> None:
    """Raises jsonschema.ValidationError for a field that is missing, unknown or of another kind; KeyError
    for an object that neither Kubernetes nor this file knows.
    """
    _validated(json.dumps(thing, sort_keys=True), version)


@cache
def _validated(text: str, version: str) -> None:
    """Installs have most objects in common; each is looked at once."""
    thing = json.loads(text)
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except SchemaNotFoundError:
        _custom(thing["apiVersion"], thing["kind"]).validate(thing)
