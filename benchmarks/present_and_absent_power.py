"""How many bases the controls of ``elicitation-needs-the-skill`` need: simulated before its second version ran.

    python benchmarks/present_and_absent_power.py

A control asks that the 95 % interval of a gain lies below .2. One base's gain is the difference of two shares
of 88 problems, a draw each, with plain success .17; what varies between bases beyond that is taken from the
three bases of version 1, one of which gained .14 under a random direction and two nothing. Printed is how often
the control is held where the true mean gain is that, and how often where it is .2 on average, which must not be
more than 2.5 %. Intervals: Student's over bases; a bootstrap over whole bases; and one over problems with bases
as strata, which speaks for these bases only.
"""

import numpy as np

from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.experiments.plan import over_seeds

PLAIN, PROBLEMS, MOST, RUNS = 0.17, 88, 0.2, 2000
SEEN = np.array([0.14, 0.0, 0.0])
"""Gains of a random direction in version 1."""


def gains(generator, bases, directions, rise):
    """One study: gain of every problem, ``[base, problem]``."""
    own = generator.choice(SEEN, size=(bases, directions)) + rise
    plain = generator.random((bases, PROBLEMS)) < PLAIN
    pushed = generator.random((bases, directions, PROBLEMS)) < PLAIN + own[:, :, None]
    return pushed.mean(axis=1) - plain


def held(found, how, generator):
    """Whether the upper end lies below the limit."""
    bases = len(found)
    if how == "student":
        return over_seeds("gain", found.mean(axis=1), (-1.0, 1.0)).high < MOST
    labels = np.repeat(np.arange(bases), PROBLEMS)
    if how == "bases drawn":
        one = bootstrap_mean(found.ravel(), generator, clusters=labels, resamples=400, bounds=(-1.0, 1.0))
        return one.high < MOST
    centre, error = found.mean(), np.sqrt(found.var(axis=1, ddof=1).mean() / found.size)
    return centre + 1.96 * error < MOST


def main():
    """Print the table."""
    generator = np.random.default_rng(0)
    print("bases directions interval      held as seen   held where the mean is .2")
    for bases in (3, 4, 5, 6, 8):
        for directions in (1, 4):
            for how in ("student", "bases drawn", "strata"):
                share = [
                    np.mean(
                        [held(gains(generator, bases, directions, rise), how, generator) for _ in range(RUNS)]
                    )
                    for rise in (0.0, MOST - SEEN.mean())
                ]
                print(f"{bases:5} {directions:10} {how:12} {share[0]:13.3f} {share[1]:13.3f}", flush=True)


if __name__ == "__main__":
    main()
