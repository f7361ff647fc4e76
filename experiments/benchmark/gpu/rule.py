"""A rule for method="auto" from measured times.

A rule is a driver for all shapes, or a driver from some T, or some H, on and another one below. Its
cost at a shape is its time / the best time there. The rule with the least geometric mean of costs
is proposed. A rule with a threshold has to be better by 3% than the best without one.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.benchmark.cases import Shape

Times = Mapping[Shape, Mapping[str, float]]
THRESHOLD_PAYS = 0.97


class Rule(NamedTuple):
    """`driver`, or `driver` where `axis` >= `least` and `below` elsewhere.

    mean, worst: geometric mean and maximum over shapes of its time / the best time.
    """

    driver: str
    axis: str
    least: int
    below: str
    mean: float
    worst: float

    def choose(self, shape: Shape) -> str:
        """Returns the driver for a shape."""
        if not self.axis or getattr(shape, self.axis) >= self.least:
            return self.driver
        return self.below

    def __str__(self) -> str:
        text = self.driver
        if self.axis:
            text += f" if {self.axis} >= {self.least} else {self.below}"
        return f"{text} ({self.mean:.2f} of the best time in the mean, {self.worst:.2f} at worst)"


def propose(times: Times) -> Rule | None:
    """Returns the rule to propose; None if no driver was measured at every shape.

    Args:
      times: seconds by driver, for every shape.
    """
    drivers = list(dict.fromkeys(name for found in times.values() for name in found))
    simple = [_scored(Rule(name, "", 0, "", 0.0, 0.0), times) for name in drivers]
    split = [
        _scored(Rule(high, axis, least, low, 0.0, 0.0), times)
        for axis in ("T", "H")
        for least in sorted({getattr(shape, axis) for shape in times})[1:]
        for high, low in itertools.permutations(drivers, 2)
    ]
    best, best_split = _best(simple), _best(split)
    if best is None or best_split is None:
        return best or best_split
    return best_split if best_split.mean < THRESHOLD_PAYS * best.mean else best


def _scored(rule: Rule, times: Times) -> Rule | None:
    """Returns the rule with its costs; None if it chooses a driver that was not measured."""
    costs = []
    for shape, found in times.items():
        chosen = found.get(rule.choose(shape))
        if chosen is None:
            return None
        costs.append(chosen / min(found.values()))
    mean = math.exp(math.fsum(map(math.log, costs)) / len(costs))
    return rule._replace(mean=mean, worst=max(costs))


def _best(rules: Iterable[Rule | None]) -> Rule | None:
    return min((rule for rule in rules if rule is not None), key=lambda r: r.mean, default=None)
