"""Limits of control groups, read from trees as the two versions of Linux' control groups have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastgw.supervisor.memory_group import find_group, total_limit

MIB = 1 << 20


class Tree:
    """A mounted tree and the file that says where in it we are."""

    def __init__(self, folder: Path) -> None:
        self.root, self.membership = folder / "cgroup", folder / "membership"

    def place(self, *lines: str) -> None:
        self.membership.write_text("".join(f"{line}\n" for line in lines))

    def write(self, folder: str, **files: object) -> None:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (self.root / folder / name.replace("__", ".")).write_text(f"{value}\n")

    def find(self):  # type: ignore[no-untyped-def]
        return find_group(str(self.membership), str(self.root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_version_2(tree: Tree) -> None:
    tree.place("0::/system.slice/fastgw.service")
    tree.write("system.slice", memory__max="max")
    tree.write("system.slice/fastgw.service", memory__max=512 * MIB, memory__current=100 * MIB)
    group = tree.find()
    assert group is not None and group.limit == 512 * MIB and group.used() == (100 * MIB, 0)


def test_the_lowest_limit_counts_wherever_it_is(tree: Tree) -> None:
    tree.place("0::/a/b")
    tree.write("a", memory__max=256 * MIB, memory__current=200 * MIB)
    tree.write("a/b", memory__max=512 * MIB, memory__current=1)
    group = tree.find()
    assert group is not None and (group.limit, group.used()) == (256 * MIB, (200 * MIB, 0))


def test_the_page_cache_is_no_use_that_counts(tree: Tree) -> None:
    tree.place("0::/")
    tree.write("", memory__max=100 * MIB, memory__current=99 * MIB)
    tree.write("", memory__stat=f"anon {10 * MIB}\nactive_file {20 * MIB}\ninactive_file {30 * MIB}\nshmem 5\nsock {7 * MIB}")
    group = tree.find()
    assert group is not None and group.used() == (49 * MIB, 7 * MIB)


def test_version_1(tree: Tree) -> None:
    tree.place("5:devices:/", "4:cpu,memory:/docker/abc", "0::/")
    tree.write("memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=1)
    tree.write("memory/docker/abc", memory__limit_in_bytes=64 * MIB, memory__usage_in_bytes=60 * MIB)
    tree.write("memory/docker/abc", memory__stat=f"inactive_file 7\ntotal_inactive_file {5 * MIB}\ntotal_active_file {5 * MIB}")
    group = tree.find()
    assert group is not None and (group.limit, group.used()) == (64 * MIB, (50 * MIB, 0))


def test_a_container_that_sees_only_its_own_group(tree: Tree) -> None:
    """The path is the host's, and what is mounted begins with the container's group."""
    tree.place("4:memory:/docker/abc")
    tree.write("memory", memory__limit_in_bytes=64 * MIB, memory__usage_in_bytes=7)
    group = tree.find()
    assert group is not None and (group.limit, group.used()) == (64 * MIB, (7, 0))


def test_without_a_limit_there_is_no_group(tree: Tree) -> None:
    assert tree.find() is None
    tree.place("0::/x")
    assert tree.find() is None
    tree.write("x", memory__max="max")
    assert tree.find() is None


def test_a_group_that_goes_away_says_nothing(tree: Tree) -> None:
    tree.place("0::/x")
    tree.write("x", memory__max=10 * MIB)
    group = tree.find()
    assert group is not None and group.used() == (0, 0)


def test_what_all_workers_may_have(tree: Tree) -> None:
    tree.place("0::/x")
    tree.write("x", memory__max=100)
    group = tree.find()
    assert [total_limit(configured, group) for configured in (0, 50, 500)] == [100, 50, 100]
    assert total_limit(500, None) == 500
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert total_limit(0, None) == pytest.approx(memory * 1024 * 0.8, rel=0.01)
