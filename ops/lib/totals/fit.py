"""Fits the costs of src/estimate/costs.rs.

Job: for the log, the totals and each projection, costs of at least nothing whose sums
come closest to the measured bytes, every data set weighing the same. Where the data
sets leave a cost open it stays near what it is by theory.
Invariant: the terms are those that the command itself prints; nothing is counted here.
"""

import numpy

TERMS = ("times", "keys", "runs", "names", "objects")
# A byte for a byte of information. An address has 3 (24 bits), the name in a URL 8, a
# size 3.
THEORY = {"times": 1.0, "keys": 1.0, "names": 1.0}
THEORY_OF = {"log": {"objects": 11.0}, "totals": {"runs": 3.0, "objects": 3.0}}
PROFILES = ("realistic", "uniform")
# Of a cost that is a byte off its theory, against an estimate that is wrong by all of it.
PULL = 0.005
ROUNDS = 200_000


def in_sql(part):
    """What sql/ calls a part of the estimate: a projection by its own name."""
    return {"log": "http_log", "totals": "http_log_totals"}.get(part, part)


def constants(found):
    """Of [(profile, measured sizes, what the command said)]: the lines of COSTS."""
    lines = []
    for part in found[0][2]["per_day"]["parts"]:
        name = in_sql(part)
        rows, theory = [], expected(part)
        for profile, sizes, told in found:
            terms = told["per_day"]["parts"][part]["terms"]
            of_profile = [terms["rows"] if profile == mine else 0.0 for mine in PROFILES]
            rows.append(numpy.array(of_profile + [terms[term] for term in TERMS]) / sizes[name][1])
        terms = numpy.array(rows)
        costs = least_squares(terms, theory, terms.any(axis=0))
        off = terms @ costs - 1
        shown = ", ".join(f"{value:.3f}" for value in costs)
        variant = "".join(word.capitalize() for word in part.split("_"))
        lines.append(f"    (Part::{variant}, cost([{shown}])), // off by {off.min():+.1%} to {off.max():+.1%}")
    return "\n".join(lines)


def expected(part):
    """What each cost is by theory."""
    known = THEORY | THEORY_OF.get(part, {})
    return numpy.array([0.0] * len(PROFILES) + [known.get(term, 0.0) for term in TERMS])


def least_squares(terms, theory, used):
    """Costs of at least 0 that bring each row of terms nearest to 1, one cost at a time."""
    costs, theory = theory * used, theory * used
    left = 1 - terms @ costs
    # Nothing is known of a row's own cost beforehand.
    pull = numpy.where(numpy.arange(len(theory)) < len(PROFILES), 0.0, PULL**2)
    squares = (terms**2).sum(axis=0) + pull
    for _ in range(ROUNDS):
        moved = 0.0
        for place in numpy.flatnonzero(used):
            best = (
                costs[place] + (terms[:, place] @ left - pull[place] * (costs[place] - theory[place])) / squares[place]
            )
            step = max(best, 0.0) - costs[place]
            costs[place] += step
            left -= terms[:, place] * step
            moved = max(moved, abs(step))
        if moved < 1e-9:
            break
    return costs
