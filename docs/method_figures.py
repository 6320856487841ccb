"""docs/methods/*.svg: every difference of a study over seeds, beside the smallest one it would have seen."""

from keyturn.core.measurement import Estimate, from_json_number
from keyturn.report.axes import linear
from keyturn.report.rows import Rows, mark, segment, whisker, zero_line
from keyturn.report.svg import drawing, line

WIDTH = 860.0
STYLE = """\
<style>
svg{background:#fcfbf8;font-family:system-ui,sans-serif}
text{font-size:12px;fill:#474d55}.tick,.words{fill:#666c75}.value{fill:#1b1e23}.decides{font-weight:600;fill:#1b1e23}
.axis{stroke:#dfdbd2}.grid{stroke:#ebe8e1}.zero{stroke:#666c75}.needed{stroke:#2566a8;stroke-dasharray:3 3}
.unseen{fill:#dedad0}.whisker{stroke:#1b1e23}.seen{fill:#2566a8}.open{fill:#fcfbf8;stroke:#1b1e23;stroke-width:1.5}
@media (prefers-color-scheme:dark){svg{background:#131519}text{fill:#bcbfc4}.tick,.words{fill:#959ba4}
.value,.decides{fill:#ebe8e2}.axis{stroke:#2e323a}.grid{stroke:#24282e}.zero{stroke:#959ba4}.needed{stroke:#70acec}
.unseen{fill:#343941}.whisker{stroke:#ebe8e2}.seen{fill:#70acec}.open{fill:#131519;stroke:#ebe8e2}}
</style>"""


def estimate_of(number):
    """A number of a table as an estimate."""
    return Estimate(*(from_json_number(number.get(end)) for end in ("value", "low", "high")))


def differences(claim, found):
    """The number that decides, and the contrasts in it with a value: those that one axis can hold."""
    deciding = next((one for one in found["contrasts"] if one["key"] == claim.threshold.estimand), None)
    if deciding is None or ": " not in deciding["name"]:
        return "", []
    number = deciding["name"].split(": ")[0]
    same = [one for one in found["contrasts"] if one["name"].split(": ")[0] == number and one["reading"]]
    return number, [one for one in same if one["value"] is not None]


def figure(claim, found):
    """The drawing as a file of its own; empty where nothing is to be compared."""
    number, lines = differences(claim, found)
    if not lines:
        return ""
    names = tuple(one["name"].split(": ", 1)[1] for one in lines)
    rows = Rows(names=names, values=tuple(f"{one['value']:+.3f}" for one in lines), width=WIDTH)
    estimates = [estimate_of(one) for one in lines]
    reach = [from_json_number(one["smallest"]) for one in lines]
    ends = [v for e in estimates for v in (e.value, e.low, e.high)] + reach + [-one for one in reach]
    scale = linear(ends, rows.frame.left, rows.frame.right, include=(0.0, claim.threshold.smallest))
    classes = ["decides" if one["key"] == claim.threshold.estimand else "" for one in lines]
    needed = scale(claim.threshold.smallest)
    parts = [*rows.frame.x_axis(scale, f"difference in {number}, mean over seeds", grid=True)]
    for index, unseen in enumerate(reach):
        if unseen == unseen:
            parts.append(segment(scale, rows.y(index), -unseen, unseen, "unseen", 14))
    parts.append(zero_line(scale, rows.frame))
    parts.append(line((needed, rows.frame.top), (needed, rows.frame.bottom), "needed"))
    parts += rows.words(classes)
    for index, (one, estimate) in enumerate(zip(lines, estimates, strict=True)):
        seen = "seen" if one["reading"] in ("lead", "finding") else "open"
        parts += whisker(scale, rows.y(index), estimate)
        parts.append(mark(scale, rows.y(index), estimate.value, seen, one["reading"]))
    told = zip(names, rows.values, lines, strict=True)
    said = "; ".join(f"{name} {value}, {one['reading']}" for name, value, one in told)
    drawn = drawing(claim.id, (WIDTH, rows.height), f"{claim.id}: differences in {number}", said, parts)
    head, rest = str(drawn).split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n'


READING = (
    "A dot is the mean over seeds, its line the 95 % interval, the grey bar what the seeds could not have seen "
    "(power .8); filled where the interval excludes 0, bold the one that decides, dashed what the claim needs."
)
