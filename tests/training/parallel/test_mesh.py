"""Devices of a run: how many there are, and how many are used."""

import pytest

from seqmodels.training.parallel.mesh import largest_divisor, use_devices


def test_devices():
    # The four devices of the tests have started already, so use_devices can only count them.
    assert use_devices(4) == 4
    assert use_devices("3") == 3
    assert use_devices("auto") == 4
    with pytest.raises(ValueError, match="devices: got 5, expected at most the 4 there are"):
        use_devices(5)
    assert [largest_divisor(6, n) for n in (1, 2, 4, 9)] == [1, 2, 3, 6]


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "2.5", ""])
def test_devices_that_are_no_number(wrong):
    with pytest.raises(ValueError, match=r"devices: got .*, expected auto or a positive number"):
        use_devices(wrong)
