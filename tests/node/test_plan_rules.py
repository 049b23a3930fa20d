"""What holds for whatever lies on the disks, and wherever a run is cut off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cached.cli.node.disk import Disk, Signature
from cached.cli.node.steps import Run
from cached.cli.node.wish import Wish
from cached.core.errors import CachedError
from tests.node.machine import AWS, EBS, ROOT, Machine, local

NAMES = [f"nvme{number}n1" for number in range(6)]

labels = st.sampled_from(["", "cached", "data", "host:cached", "host:data", "cached:data"])
signatures = st.builds(
    Signature,
    st.sampled_from(["xfs", "ext4", "linux_raid_member", "LVM2_member", "gpt", "zfs_member"]),
    labels,
    st.sampled_from(["1", "2"]),
)


@st.composite
def any_disk(draw: st.DrawFn, name: str) -> Disk:
    """Mostly blank and unused; the rest is anything."""
    seldom = st.sampled_from([False] * 7 + [True])
    return Disk(
        name,
        size=draw(st.sampled_from([1 << 40] * 7 + [0])),
        model=draw(st.sampled_from([AWS] * 4 + ["nvme_card3", EBS, "SAMSUNG"])),
        transport=draw(st.sampled_from(["pcie"] * 5 + ["tcp", ""])),
        virtual=draw(seldom),
        read_only=draw(seldom),
        swap=draw(seldom),
        claimed=draw(seldom),
        partitions=(f"{name}p1",) if draw(seldom) else (),
        holders=("dm-0",) if draw(seldom) else (),
        mounted_at=("/mnt",) if draw(seldom) else (),
        signatures=draw(st.sampled_from([(), (), (), None]) | st.lists(signatures, max_size=2).map(tuple)),
    )


@st.composite
def any_machine(draw: st.DrawFn) -> Machine:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    disks = [draw(any_disk(name)) for name in sorted(names)]
    if draw(st.booleans()):
        members = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)))
        disks.append(
            Disk("md5", size=1, virtual=True, members=members, signatures=draw(st.just(()) | st.none()))
        )
    models = draw(st.sampled_from([Wish(ROOT).models, ("*",), ("SAMSUNG",)]))
    named = (
        tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))) if draw(st.booleans()) else ()
    )
    return Machine(*disks, wish=Wish(ROOT, models, named), taken=draw(st.sampled_from([False] * 4 + [True])))


@given(any_machine())
def test_nothing_is_written_to_but_blank_disks_that_nobody_uses(machine: Machine) -> None:
    before = {disk.name: disk for disk in machine.found.disks}
    try:
        steps = machine.plan().steps
    except CachedError:
        return
    for step in steps:
        if not isinstance(step, Run) or step.command[0] == "systemctl":
            continue
        if step.command[:2] == ("mdadm", "--assemble"):
            assert step.writes_to == ()
            continue
        named = {word.removeprefix("/dev/") for word in step.command if word.startswith("/dev/")}
        assert named - {"md/cached"} == set(step.writes_to), "a step names disks that it does not answer for"
        for name in step.writes_to:
            disk = before[name]
            assert disk.signatures == ()
            assert (disk.partitions, disk.holders, disk.mounted_at) == ((), (), ())
            assert (disk.swap, disk.claimed, disk.read_only) == (False, False, False)
            assert disk.size
            members = [before[member] for member in disk.members]
            assert all(map(machine.wish.wants, members or [disk]))
            assert all(member.array for member in members), "an array of others is written to"


@given(any_machine())
def test_whatever_there_is_it_plans_or_refuses_and_reads_well(machine: Machine) -> None:
    try:
        plan = machine.plan()
    except CachedError:
        return
    assert bool(plan.steps) is not bool(plan.settled)
    assert all(reason.split()[0] in ("is", "carries", "has") for _, reason in plan.left)
    written = {name for step in plan.steps if isinstance(step, Run) for name in step.writes_to}
    assert not written & {disk.removeprefix("/dev/") for disk, _ in plan.left}


nodes = st.integers(1, 4).map(lambda count: Machine(*(local(f"nvme{n}n1") for n in range(1, count + 1))))
cuts = st.lists(st.integers(0, 6), max_size=5)
boots = st.booleans()


@given(nodes, cuts, st.data())
def test_wherever_runs_are_cut_off_the_next_one_takes_it_up(
    machine: Machine, cuts: list[int], data: st.DataObject
) -> None:
    made: set[str] = set()
    for cut in cuts:
        machine.run(steps=cut)
        if data.draw(boots):
            machine.reboot(assembles=data.draw(boots))
        made |= {disk.filesystem for disk in machine.found.disks if disk.filesystem}
    last = machine.run()
    made |= {disk.filesystem for disk in machine.found.disks if disk.filesystem}
    assert last.settled.startswith(f"{ROOT} is mounted already")
    assert machine.mount.disks == machine.disks.keys(), "a disk was left out"
    assert len(made) == 1, "a filesystem that was whole was made again"
    assert machine.run().steps == ()


@given(nodes, boots)
def test_blank_disks_after_a_stop_and_a_start_get_a_new_filesystem(machine: Machine, assembles: bool) -> None:
    machine.run()
    machine.replace(*machine.disks)
    machine.reboot(assembles=assembles)
    assert machine.run().settled.startswith(f"{ROOT} is mounted already")
    assert machine.mount.disks == machine.disks.keys()
