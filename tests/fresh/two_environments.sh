#!/usr/bin/env bash
# The same program in two Python environments, such as of two TensorFlows, in turns: how fast is B against A?
#
#   tests/fresh/two_environments.sh PYTHON_A PYTHON_B [ROUNDS [ROWS]]
#
# Prints for each row of hpc/bench.py the rate of both, the first number of its note (medians), and
# the median of B / A over neighbours. Run it on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
a=${1:?which Python is A?} b=${2:?which Python is B?} rounds=${3:-5}
rows=${4:-lstm-keras,lstm-matmul,batches,generate,generate-64,live-ahead}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for round in $(seq "$rounds"); do
    PYTHONPATH=. "$a" hpc/bench.py --rows "$rows" --rounds 1 --json "$work/a-$round.json" >/dev/null
    PYTHONPATH=. "$b" hpc/bench.py --rows "$rows" --rounds 1 --json "$work/b-$round.json" >/dev/null
    echo "round $round of $rounds" >&2
done

"$b" - "$work" "$rounds" <<'PYTHON'
import json
import re
import statistics
import sys

work, rounds = sys.argv[1], int(sys.argv[2])
rates = {"a": {}, "b": {}}
for side, of_rows in rates.items():
    for turn in range(1, rounds + 1):
        with open(f"{work}/{side}-{turn}.json") as file:
            for row in json.load(file)["rows"]:
                number = re.search(r"[\d,]*\.?\d+", row["note"]).group().replace(",", "")
                of_rows.setdefault(row["name"], []).append(float(number))
for name, of_a in rates["a"].items():
    of_b = rates["b"][name]
    ratios = [there / here for here, there in zip(of_a, of_b)]
    print(
        f"| {name} | {statistics.median(of_a):,.6g} | {statistics.median(of_b):,.6g} | "
        f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
    )
PYTHON
