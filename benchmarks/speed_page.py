"""docs/results/speed.md, written from docs/results/speed.json."""

from statistics import median

WHAT = {
    "task": "the shipped base on its own problems, the verifier's reward",
    "equal": "every completion has the full length, every row is learnt from",
    "llama": "the same on a stock `LlamaForCausalLM` of that shape",
}


def ratio(ours, theirs, clock):
    return median(ours[clock]) / median(theirs[clock])


def rl_table(settings):
    lines = [
        "| setting | ours, s a step | TRL, s a step | ours / TRL, wall | ours / TRL, processor | tokens a row, ours, TRL |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in settings.items():
        ours, trl = found["rl"]["ours"], found["rl"]["trl"]
        lines.append(
            f"| {name} | {median(ours['wall']):.3f} | {median(trl['wall']):.3f} | {ratio(ours, trl, 'wall'):.2f} "
            f"| {ratio(ours, trl, 'cpu'):.2f} | {ours['length']:.1f}, {trl['length']:.1f} |"
        )
    return lines


def sampling_table(settings):
    lines = [
        "| setting | ours, tokens/s | `generate`, tokens/s | ours / `generate`, wall a token | processor a token |",
        "|---|---|---|---|---|",
    ]
    for name, found in settings.items():
        ours, theirs = found["sampling"]["ours"], found["sampling"]["generate"]

        def each(side, clock):
            return median(s / n for s, n in zip(side[clock], side["tokens"], strict=True))

        lines.append(
            f"| {name} | {1 / each(ours, 'wall'):,.0f} | {1 / each(theirs, 'wall'):,.0f} "
            f"| {each(ours, 'wall') / each(theirs, 'wall'):.2f} | {each(ours, 'cpu') / each(theirs, 'cpu'):.2f} |"
        )
    return lines


def floor_table(found):
    lines = [
        "| setting | floor, s | of it sampling, update | GFLOP/s sampling, update | step / floor | TRL's / floor |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in found["settings"].items():
        if name.startswith("task"):
            continue
        floor = found["floor"][name.split(", ")[1].split()[0]]
        seconds, rate = floor["seconds"], floor["flops_a_second"]
        ours, trl = (median(part["rl"][side]["wall"]) for side in ("ours", "trl"))
        lines.append(
            f"| {name} | {seconds['step']:.3f} | {seconds['sampling']:.3f}, {seconds['update']:.3f} "
            f"| {rate['sampling'] / 1e9:.1f}, {rate['update'] / 1e9:.1f} "
            f"| {ours / seconds['step']:.1f} | {trl / seconds['step']:.1f} |"
        )
    return lines


def phases(settings):
    lines = ["| setting | sample | grade | update | save | rows learnt from |", "|---|---|---|---|---|---|"]
    for name, found in settings.items():
        ours = found["rl"]["ours"]
        spent = " | ".join(f"{ours['phases'].get(p, 0.0):.3f}" for p in ("sample", "grade", "update", "save"))
        lines.append(f"| {name} | {spent} | {ours.get('rows_used', float('nan')):.0%} |")
    return lines


def page(found):
    """The page, from the document that speed.py wrote."""
    batch, machine, load = found["batch"], found["hardware"], found["load"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    settings = found["settings"]
    says = "\n".join(f"- `{name}`: {what}." for name, what in WHAT.items())
    busy = " The machine was busy: trust the processor columns more." if load["before"] > 1.5 else ""
    return "\n".join(
        [
            "# Speed",
            "",
            f"Written by `python benchmarks/speed.py` from its own `speed.json`. Model: the shipped "
            f"`{found['base']}` base, {found['floor']['1' if '1' in found['floor'] else '2']['entries']:,} entries "
            f"in matrices. Batch: {batch['prompts']} prompts x {batch['draws']} draws, at most "
            f"{batch['max_new_tokens']} new tokens. One run, the sides in turns, medians; below 1 is faster.",
            "",
            f"{machine['processor']}, {machine['cores']} cores; torch {machine['torch']}, {versions}. "
            f"Load before {load['before']:.1f}, after {load['after']:.1f}; {found['seconds']:.0f} s in all.{busy}",
            "",
            says,
            "",
            "## An RL step, against TRL's `GRPOTrainer`",
            "",
            *rl_table(settings),
            "",
            "## Sampling, against Hugging Face `generate`",
            "",
            "Ours also records each token's log-probability and entropy.",
            "",
            *sampling_table(settings),
            "",
            "## How far from the arithmetic",
            "",
            "The floor is the step's matrix products alone (2 N a token sampled, 6 N a token learnt), at the rate "
            "that this machine does them at these shapes (`benchmarks/arithmetic.py`).",
            "",
            *floor_table(found),
            "",
            "## Where our step goes",
            "",
            "Seconds a step, medians over turns, the first step of a run included.",
            "",
            *phases(settings),
            "",
        ]
    )
