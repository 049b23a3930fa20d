"""Nodes that fetch one model at once, in one process: what is read where, and what each ends up with."""

from __future__ import annotations

import asyncio
import mmap
import os
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Corrupt, Denied
from cached.core.source import RangeRequest, SourceFile
from cached.swarm.rendezvous import ranking
from tests.neighbours.nodes import Node, free_ports, open_node, open_nodes

MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """24 MiB in five files, two of them equal and one of them empty."""
    directory = tmp_path / "source"
    directory.mkdir()
    for name, size in (("a.bin", 12 * MIB), ("b.bin", 8 * MIB + 1), ("c.json", 1000), ("empty", 0)):
        (directory / name).write_bytes(os.urandom(size))
    (directory / "d.json").write_bytes((directory / "c.json").read_bytes())
    return directory


def entry(directory: Path, more: str = "") -> dict[str, str]:
    return {"m": f"source: 'file://{directory}'{more}"}


def other_bytes(model: Path, directory: Path) -> Path:
    """Files of the same names and sizes."""
    directory.mkdir()
    for file in model.iterdir():
        (directory / file.name).write_bytes(os.urandom(file.stat().st_size))
    return directory


def spoil(file: Path) -> None:
    """Change bytes in a way that the store's watch cannot see."""
    file.chmod(0o644)
    with file.open("r+b") as handle, mmap.mmap(handle.fileno(), 4096) as page:
        page[:5] = b"wrong"


async def refuse(file: SourceFile) -> RangeRequest:
    raise Denied(f"{file.uri} is not for this node")


def same(directory: Path, node: Node, path: Path) -> bool:
    return all((path / file.name).read_bytes() == file.read_bytes() for file in directory.iterdir())


def offers(node: Node, tree: Digest) -> int:
    """How many of the tree's blobs other members may read."""
    listing = node.store.tree(tree)
    assert listing is not None
    return sum(node.neighbours.swarms.shelf.size(blob) is not None for blob in listing.blobs)


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


async def test_four_cold_nodes_read_the_source_once(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 4, entry(model)) as nodes:
        answers = await asyncio.gather(*(node.ready("m") for node in nodes))
        for node, answer in zip(nodes, answers, strict=True):
            assert same(model, node, answer.path)
        assert sum(node.from_source for node in nodes) <= 1.05 * size_of(model)
        assert all(node.from_peers for node in nodes)


async def test_who_comes_later_reads_nothing_of_the_source(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 3, entry(model)) as nodes:
        await nodes[0].ready("m")
        answer = await nodes[1].ready("m")
        assert same(model, nodes[1], answer.path)
        assert nodes[1].from_source == 0
        await nodes[2].ready("m")
        assert nodes[2].from_source == 0


async def test_members_that_are_not_there_cost_seconds_and_nothing_else(tmp_path: Path, model: Path) -> None:
    gone = [f"127.0.0.1:{port}" for port in free_ports(3)]
    [port] = free_ports(1)
    async with open_node(tmp_path / "node", f"127.0.0.1:{port}", gone, entry(model)) as node:
        answer = await asyncio.wait_for(node.ready("m"), 20)
        assert same(model, node, answer.path)


async def test_what_policy_keeps_is_neither_given_nor_taken(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 2, entry(model, ", share: false")) as nodes:
        for node in nodes:
            await node.ready("m")
            assert node.from_peers == 0
            assert node.from_source > 0
            tree = (await node.engine.describe("m")).artifact.tree
            assert tree is not None
            assert offers(node, tree) == 0


async def test_operators_see_who_holds_what(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 3, entry(model)) as nodes:
        await asyncio.gather(*(node.ready("m") for node in nodes))
        views = [(await node.engine.describe("m")).swarm for node in nodes]
        coordinators = {view.coordinator for view in views if view}
        assert len(coordinators) == 1
        for view in views:
            assert view is not None
            assert view.survey is not None
            assert (view.survey.members, view.survey.held) == (3, view.chunks)
            assert view.survey.holders == tuple(sorted(node.address for node in nodes))
        assert all(view.have == view.chunks for view in views if view)
        peers = nodes[0].engine.peers()
        assert {peer.address for peer in peers.peers} == {node.address for node in nodes[1:]}
        assert sum(peer.received for peer in peers.peers) == nodes[0].from_peers


async def test_what_was_evicted_is_offered_no_more(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 2, entry(model)) as [one, two]:
        answer = await one.ready("m")
        assert offers(one, answer.tree) == 4
        await one.engine.release(answer.lease.id)
        await one.engine.evict("m")
        async with asyncio.timeout(10):
            while (await one.engine.describe("m")).swarm is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert offers(one, answer.tree) == 0
        await two.ready("m")
        assert two.from_source >= size_of(model) - 1000  # c.json and d.json are one blob


async def test_who_drains_offers_nothing_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cached.engine.swarm.swarms._LOOK_EVERY", 0.02)
    async with open_nodes(tmp_path / "nodes", 2, entry(model)) as [one, _]:
        answer = await one.ready("m")
        assert offers(one, answer.tree) == 4
        await one.engine.drain(0)
        await asyncio.sleep(0.2)
        assert offers(one, answer.tree) == 0


async def test_a_neighbour_with_wrong_bytes_on_its_disk_is_found_out(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 2, entry(model)) as [one, two]:
        answer = await one.ready("m")
        spoil(answer.path / "a.bin")
        warm = await two.ready("m")
        assert same(model, two, warm.path)
        assert two.sample("cached_peer_bans_total") == 1
        assert two.from_source > 0


async def test_a_member_that_tells_wrong_hashes_spoils_nothing(tmp_path: Path, model: Path) -> None:
    """One node reads other bytes from the source than the rest would, and tells what those hash to."""
    wrong = other_bytes(model, tmp_path / "wrong")
    async with open_nodes(tmp_path / "nodes", 3, entry(model)) as [liar, *others]:
        liar.source.instead = wrong
        asked = [asyncio.ensure_future(node.ready("m")) for node in (liar, *others)]
        for node, answer in zip(others, await asyncio.gather(*asked[1:]), strict=True):
            assert same(model, node, answer.path)
        with pytest.raises(Corrupt):
            await asked[0]


async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 2, entry(model)) as [one, two]:
        await one.ready("m")
        fetch = asyncio.ensure_future(two.ready("m"))
        async with asyncio.timeout(20):
            while two.from_peers < 4 * MIB:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        fetch.cancel()
        await asyncio.wait({fetch})
        answer = await two.ready("m")
        assert same(model, two, answer.path)
        assert two.from_peers <= size_of(model) + 2 * MIB
        assert two.from_source == 0


@pytest.mark.slow
async def test_a_source_that_refuses_everybody_is_an_error_in_good_time(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 2, entry(model)) as nodes:
        for node in nodes:
            node.source.open = refuse  # type: ignore[method-assign]
        with pytest.raises(Denied):
            await asyncio.wait_for(nodes[0].ready("m"), 30)


async def test_a_source_that_refuses_one_node_costs_it_nothing(tmp_path: Path, model: Path) -> None:
    async with open_nodes(tmp_path / "nodes", 3, entry(model)) as nodes:
        nodes[0].source.open = refuse  # type: ignore[method-assign]
        answers = await asyncio.gather(*(node.ready("m") for node in nodes))
        assert same(model, nodes[0], answers[0].path)
        assert nodes[0].from_source == 0


async def test_who_starts_later_and_coordinates_finds_those_who_hold_it(tmp_path: Path, model: Path) -> None:
    """The others had given that member up; it must not think that nobody has the tree."""
    one, two = (f"127.0.0.1:{port}" for port in free_ports(2))
    async with open_node(tmp_path / "one", one, [one, two], entry(model)) as holder:
        for number in range(20):  # of which one makes a tree that the absent member coordinates
            (model / "c.json").write_text(str(number))
            tree = (await holder.ready("m")).tree
            if ranking(tree, [one, two])[0] == two:
                break
        await asyncio.sleep(5)  # in which the holder knocks in vain, and is patient from then on
        async with open_node(tmp_path / "two", two, [one, two], entry(model)) as newcomer:
            async with asyncio.timeout(3):
                while (await coordinator_of(holder)) != two:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await newcomer.ready("m")
            assert newcomer.from_source == 0


async def coordinator_of(node: Node) -> str:
    view = (await node.engine.describe("m")).swarm
    return view.coordinator if view else ""
