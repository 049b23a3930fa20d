"""`cachectl certs`: who wants to try nodes together needs certificates before anything else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cached.cli.options import Output, output
from cached.cli.parts import daemons_part
from cached.cli.render import emit, rfc3339
from cached.cli.text import columns

if TYPE_CHECKING:
    from cached.cli.lab import Written

_DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z"
)


def _dns_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _DNS_NAME.match(value.lower()):
        raise click.BadParameter(f"{value!r} is not a DNS name")
    return value and value.lower()


def _hosts(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    hosts = []
    for value in values:
        try:
            hosts.append(str(ip_address(value)))
        except ValueError:
            if not _DNS_NAME.match(value.lower()):
                raise click.BadParameter(
                    f"{value!r} is neither an IP address nor a DNS name; leave out the port"
                ) from None
            hosts.append(value.lower())
    return list(dict.fromkeys(hosts))


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, resolve_path=True, file_okay=False))
@click.option(
    "--host",
    "hosts",
    metavar="HOST|IP",
    multiple=True,
    callback=_hosts,
    help="A node, by the host of its peers.advertise; give it once for each.",
)
@click.option(
    "--name",
    metavar="NAME",
    callback=_dns_name,
    help="A DNS name for all nodes to carry. Without --host, one certificate for all of them.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How long the nodes' certificates last, though never beyond the CA.",
)
@output
def certs(directory: Path, hosts: list[str], name: str | None, days: int, output: Output) -> None:
    """Make a CA for a lab, and certificates for nodes to know each other by.

    The CA is made once and kept. A node's certificate and key are made anew each time that it is named;
    a daemon notices and goes on with them. Where cert-manager runs, let it do this.

    \b
    Examples:
      cachectl certs lab --host 10.0.0.1 --host 10.0.0.2
      cachectl certs lab --name cached.internal
    """  # fmt: skip
    with daemons_part("make certificates"):
        from cached.cli.lab import Lab
    lab = Lab(directory, datetime.now(UTC).replace(microsecond=0))
    nodes = [lab.issue([host, *([name] if name else [])], days) for host in hosts]
    if name and not hosts:
        nodes = [lab.issue([name], days)]
    emit(
        output,
        {
            "ca": {
                "file": str(lab.ca.cert),
                "key_file": str(lab.ca.key),
                "expire_time": rfc3339(lab.ca.expires.timestamp()),
                "made": not lab.ca.was_here,
            },
            "nodes": [
                {
                    "names": list(node.names),
                    "expire_time": rfc3339(node.expires.timestamp()),
                    "renewed": node.was_here,
                    "tls": _tls(lab.ca, node.cert, node.key, name),
                }
                for node in nodes
            ],
        },
        lambda: _told(lab.ca, nodes, name),
    )


def _tls(ca: Written, cert: Path, key: Path, name: str | None) -> dict[str, str]:
    """The settings below `peers.tls`."""
    return {"ca": str(ca.cert), "cert": str(cert), "key": str(key)} | ({"name": name} if name else {})


def _told(ca: Written, nodes: list[Written], name: str | None) -> str:
    rows = [("FILE", "STATE", "NAMES", "EXPIRES")]
    rows.append((str(ca.cert), "kept" if ca.was_here else "new", "", f"{ca.expires:%Y-%m-%d}"))
    rows += [
        (
            str(each.cert),
            "renewed" if each.was_here else "new",
            ", ".join(each.names),
            f"{each.expires:%Y-%m-%d}",
        )
        for each in nodes
    ]
    told = columns(rows)
    if nodes:
        told += f"\n\n{_settings(ca, nodes, name)}"
    return told


def _settings(ca: Written, nodes: list[Written], name: str | None) -> str:
    import yaml

    place = nodes[0].cert.parent if len(nodes) == 1 else ca.cert.parent / "HOST"
    tls: dict[str, Any] = {"peers": {"tls": _tls(ca, place / "tls.crt", place / "tls.key", name)}}
    return (
        f"# Settings of a node{', HOST being its own' * (len(nodes) > 1)}. "
        f"It needs these files and no others: {ca.key.name} stays here.\n"
        f"{yaml.safe_dump(tls, sort_keys=False)}"
    ).rstrip()
