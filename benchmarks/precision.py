"""Does faster arithmetic cost accuracy? Fine-tune MiniLM under several settings and seeds.

Too long for `make bench`: some 40 minutes on two cores. Runs that are done are not done again.

Example:
    python -m benchmarks.precision --train a.json b.json --dev dev.json
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import inputs
from benchmarks.measure import machine
from benchmarks.run import RESULTS, be_quiet
from spanwise import FitConfig, TrainConfig, read_examples, train, write_examples

SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "fp32": {"precision": "fp32"},
    "bf16, attention dropout": {"precision": "bf16", "attention_dropout": True},
}
QUESTIONS, SEEDS = 3000, (0, 1, 2)


def main() -> None:
    """Run what is missing and print the mean of each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", nargs="+", required=True, help="files of the training data")
    parser.add_argument("--dev", required=True, help="the file to score on")
    flags = parser.parse_args()
    be_quiet()
    file = RESULTS / "precision" / f"{machine()['name']}.json"
    runs = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "train.json"
        pool = [example for name in flags.train for example in read_examples(name)]
        write_examples(data, inputs.spread_out(pool, QUESTIONS), form="squad")
        for name, setting in SETTINGS.items():
            for seed in SEEDS:
                if not any((run["setting"], run["seed"]) == (name, seed) for run in runs):
                    fit = FitConfig(learning_rate=2e-4, epochs=1, seed=seed, **setting)
                    config = TrainConfig(
                        model=str(inputs.encoder()),
                        train=(str(data),),
                        dev=(flags.dev,),
                        out=f"{scratch}/{name}-{seed}",
                        fit=fit,
                    )
                    runs.append({"setting": name, "seed": seed, **train(config).scores})
                    file.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
                    print(f"{name}, seed {seed}: F1 {runs[-1]['f1']:.1f}", flush=True)
    for name in SETTINGS:
        for score in ("f1", "answerable_f1", "auroc"):
            values = [run[score] for run in runs if run["setting"] == name]
            print(f"{name}: {score} {' '.join(f'{value:.3f}' for value in values)}")


if __name__ == "__main__":
    main()
