"""Take the golden runs anew: says what changed, and overwrites them only with the reason for it.

    python tests/golden/make.py                            says what changed, writes nothing
    python tests/golden/make.py --because "the reason"     writes; the reason is kept in the golden file

It wants one thread and takes some 20 seconds.
"""

import argparse
import sys

import golden_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--because", default="", help="why the golden runs change")
    because = parser.parse_args().because.strip()
    now = golden_file.take()
    before = golden_file.read() if golden_file.KEPT.exists() else {"because": [], "environment": {}, "runs": {}}
    changed = list(golden_file.differences(before["environment"], now["environment"], True, "environment"))
    changed += golden_file.differences(before["runs"], now["runs"], True)
    for line in changed:
        print(line)
    if not changed:
        print("nothing changed; nothing is written")
        return 0
    if not because:
        print(f'{len(changed)} differences; nothing is written without --because "the reason"', file=sys.stderr)
        return 1
    golden_file.KEPT.write_text(
        golden_file.text({"because": [*before["because"], because], **now}) + "\n", encoding="utf-8"
    )
    print(f"{len(changed)} differences written to {golden_file.KEPT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
