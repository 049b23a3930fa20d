"""What a coordinator knows, asked by another node."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.peers.ca import identity_of, issue, make_ca
from tests.peers.control_house import OTHER, SURVEY, TREE, house, links


async def test_the_coordinator_tells_what_it_knows() -> None:
    async with house() as node, links() as mine:
        assert await mine.survey(node.address, TREE) == SURVEY


async def test_who_does_not_coordinate_has_nothing_to_tell() -> None:
    async with house() as node, links() as mine:
        assert await mine.survey(node.address, OTHER) is None
        assert await mine.survey(node.address, TREE) == SURVEY


async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    async with links() as mine:
        assert await mine.survey(address, TREE) is None


async def test_strangers_are_told_nothing(tmp_path: Path) -> None:
    authority = make_ca(tmp_path)
    here = identity_of(issue(authority, tmp_path, host="127.0.0.1"))
    there = identity_of(issue(authority, tmp_path, host="10.0.0.9"), host="10.0.0.9")
    async with house(here) as node:
        async with links(here) as mine:
            assert await mine.survey(node.address, TREE) == SURVEY
        async with links(there) as theirs:  # it claims 127.0.0.1, and its certificate says 10.0.0.9
            assert await theirs.survey(node.address, TREE) is None
        assert node.refused("identity") == 1
