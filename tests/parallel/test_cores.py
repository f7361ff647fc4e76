"""CPU cores as devices: how many a process may use, and what is said when it is too late."""

import os

import jax
import pytest

import seqmodels as sm
from seqmodels.parallel import cores


@pytest.fixture
def no_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")


@pytest.mark.usefixtures("no_flags")
def test_called_too_late(monkeypatch):
    """The backend has started with the four devices of the tests."""
    assert jax.local_device_count() == 4
    sm.use_cpu_cores(4)
    line = (
        "use_cpu_cores: got n=3 after JAX had started with 4 CPU devices, expected the call before "
        "the first JAX operation"
    )
    with pytest.raises(RuntimeError, match=line):
        sm.use_cpu_cores(3)
    monkeypatch.setattr(cores, "available_cores", lambda: 4)
    sm.use_cpu_cores()
    monkeypatch.setattr(cores, "available_cores", lambda: 64)
    with pytest.raises(RuntimeError, match="got n=64 after"):
        sm.use_cpu_cores()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    sm.use_cpu_cores()
    assert jax.local_device_count() == 4


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "2", True])
def test_a_number_that_is_none(wrong):
    with pytest.raises(ValueError, match=r"use_cpu_cores: n: got .*, expected a positive integer"):
        sm.use_cpu_cores(wrong)


def test_flags_of_xla(monkeypatch):
    flag = "xla_force_host_platform_device_count"
    monkeypatch.setenv(
        "XLA_FLAGS", f"--{flag}=2 --xla_cpu_max_isa=AVX2 --{flag}=4"
    )  # the last counts
    sm.use_cpu_cores(4)
    with pytest.raises(ValueError, match=rf"got {flag}=4 in XLA_FLAGS and n=8, expected the same"):
        sm.use_cpu_cores(8)


V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}
GROUPS = {
    "no file": (None, {}, 8),
    "no limit": ("0::/a\n", {"a/cpu.max": "max 100000\n", "cpu.max": "max 100000\n"}, 8),
    "version 2": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
    "a part of a core": ("0::/a\n", {"a/cpu.max": "150000 100000\n"}, 2),
    "less than a core": ("0::/a\n", {"a/cpu.max": "1000 100000\n"}, 1),
    "in a container": ("0::/docker/1\n", {"cpu.max": "400000 100000\n"}, 4),
    "version 1": (
        "4:memory:/m\n3:cpu,cpuacct:/a\n0::/\n",
        {f"cpu/a/{name}": text for name, text in V1.items()},
        2,
    ),
    "version 1, no limit": ("3:cpu:/\n", {**{f"cpu/{k}": "-1\n" for k in V1}}, 8),
    "more than there are": ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
    "not a number": ("0::/\n", {"cpu.max": "\n"}, 8),
}


@pytest.mark.parametrize("name", GROUPS)
def test_limits_of_control_groups(name, tmp_path, monkeypatch):
    membership, files, want = GROUPS[name]
    if membership is not None:
        (tmp_path / "membership").write_text(membership)
    for path, text in files.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text(text)
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(cores, "MOUNT", tmp_path / "root")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.available_cores() == want


def test_affinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert cores.available_cores() == 1
