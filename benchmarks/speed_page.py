"""docs/results/speed.md, written from docs/results/speed.json."""

from statistics import median

import speed_parts

WHAT = {
    "task": "the shipped base on its own problems, the verifier's reward",
    "equal": "every completion has the full length, every row is learnt from",
    "llama": "the same on a stock `LlamaForCausalLM` of that shape",
}
BUSY = 1.5
PAGE = """\
# Speed

Written by `python benchmarks/speed.py` from its own `speed.json`. Model: the base `{base}`, {entries:,} entries
in matrices. Batch: {prompts} prompts x {draws} draws, at most {max_new_tokens} new tokens. One run, the sides
in turns, medians; below 1 means that ours is faster.

{processor}, {cores} cores; torch {torch}, transformers {transformers}, TRL {trl}. Load {before:.1f} before and
{after:.1f} after the run, which itself keeps one or two cores busy; {seconds:.0f} s in all.{busy}

{settings}

## An RL step, against TRL's `GRPOTrainer`

{rl}

## Sampling, against Hugging Face `generate`

Ours also records each token's log-probability and entropy.

{sampling}

## How far from the arithmetic

The floor is the step's matrix products alone (2 N a token sampled, 6 N a token learnt), at the rate at which
this machine does them at these shapes (`benchmarks/arithmetic.py`).

{floor}

## Where our step goes

Seconds a step and their share of these four, the first step of a run included.

{phases}
"""
PARTS = """
## Beside the step

One thread, processor time. The floor is the matrix products of the same tokens at the rate of torch's own
products of these shapes. The native engine's can be faster, and rows that have said the same so far are drawn
as one. Grading multiplies nothing.

{rows}
"""
STAGES = """
The audit's stages, in wall seconds as their folders keep them:

{stages}
"""


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def ratio(ours, theirs, clock):
    return f"{median(ours[clock]) / median(theirs[clock]):.2f}"


def rl_table(settings):
    rows = []
    for name, found in settings.items():
        ours, trl = found["rl"]["ours"], found["rl"]["trl"]
        seconds = [f"{median(side['wall']):.3f}" for side in (ours, trl)]
        lengths = f"{ours['length']:.1f}, {trl['length']:.1f}"
        rows.append([name, *seconds, ratio(ours, trl, "wall"), ratio(ours, trl, "cpu"), lengths])
    head = ["setting", "ours, s a step", "TRL, s a step", "ours / TRL", "in processor time", "tokens per row"]
    return table(head, rows)


def sampling_table(settings):
    rows = []
    for name, found in settings.items():
        sides = [found["sampling"][side] for side in ("ours", "generate")]
        wall, cpu = ([_each(side, clock) for side in sides] for clock in ("wall", "cpu"))
        speeds = [f"{1 / seconds:,.0f}" for seconds in wall]
        rows.append([name, *speeds, f"{wall[0] / wall[1]:.2f}", f"{cpu[0] / cpu[1]:.2f}"])
    head = [
        "setting",
        "ours, tokens/s",
        "`generate`, tokens/s",
        "ours / `generate`, a token",
        "in processor time",
    ]
    return table(head, rows)


def _each(side, clock):
    return median(s / n for s, n in zip(side[clock], side["tokens"], strict=True))


def floor_table(found):
    rows = []
    for name, part in found["settings"].items():
        if name.startswith("task"):
            continue
        floor = found["floor"][name.split(", ")[1].split()[0]]
        seconds, rate = floor["seconds"], floor["flops_a_second"]
        rows.append(
            [
                name,
                *(f"{seconds[part]:.3f}" for part in ("sampling", "update", "step")),
                *(f"{rate[part] / 1e9:.0f}" for part in ("sampling", "update")),
                *(f"{median(part['rl'][side]['wall']) / seconds['step']:.1f}" for side in ("ours", "trl")),
            ]
        )
    head = ["setting", "sampling, s", "update, s", "floor, s", "GFLOP/s sampling", "GFLOP/s update"]
    return table([*head, "our step / floor", "TRL's / floor"], rows)


def phases(settings):
    rows = []
    for name, found in settings.items():
        ours = found["rl"]["ours"]
        seconds = [ours["phases"].get(phase, 0.0) for phase in ("sample", "grade", "update", "save")]
        spent = [f"{one:.3f} ({one / sum(seconds):.0%})" for one in seconds]
        rows.append([name, *spent, f"{ours['rows_used']:.0%}" if "rows_used" in ours else "unknown"])
    return table(["setting", "sample", "grade", "update", "save", "rows learnt from"], rows)


def page(found):
    """The page, from the document that speed.py wrote."""
    settings, load = found["settings"], found["load"]
    busy = " The machine was busy with other work: trust processor time more." if load["before"] > BUSY else ""
    parts = found.get("parts", {})
    extra = ""
    if parts:
        head = ["part", "speed", "floor", "of the floor's speed"]
        extra = PARTS.format(rows=table(head, speed_parts.rows(parts)))
    if "audit" in parts:
        stages = speed_parts.stages(parts["audit"])
        extra += STAGES.format(stages=table(["stage", "seconds", "share"], stages))
    return steps_page(found, settings, load, busy) + extra


def steps_page(found, settings, load, busy):
    """The page's part about steps."""
    return PAGE.format(
        base=found["base"],
        entries=next(iter(found["floor"].values()))["entries"],
        **found["batch"],
        **found["hardware"],
        **found["versions"],
        **load,
        seconds=found["seconds"],
        busy=busy,
        settings="\n".join(f"- `{name}`: {what}." for name, what in WHAT.items()),
        rl=rl_table(settings),
        sampling=sampling_table(settings),
        floor=floor_table(found),
        phases=phases(settings),
    )
