"""Run the rows, print them, keep them as JSON and write the table of `docs/performance.md`.

Examples:
    python -m benchmarks.run
    python -m benchmarks.run --row decode --data folder/of/squad/files
"""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

import datasets
import transformers

from benchmarks import inputs
from benchmarks.measure import as_json, machine
from benchmarks.rows import ROWS

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parent.parent / "docs/performance.md"
_COLUMNS = (
    "what", "unit", "usual way", "spanwise", "ratio (least–most)", "target", "limit", "agreement",
    "questions", "date",
)  # fmt: skip
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", choices=ROWS, help="run this one alone")
    parser.add_argument("--data", help="a folder of SQuAD-form files; else the sample is repeated")
    flags = parser.parse_args()
    be_quiet()
    examples = inputs.read_data(flags.data)
    if not examples:
        parser.error(f"--data {flags.data}: this folder holds no *.json in SQuAD form")
    facts = machine()
    file = RESULTS / f"{facts['name']}.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["results"] if file.exists() else []
    for name in [flags.row] if flags.row else ROWS:
        results = ROWS[name](examples)
        kept = [entry for entry in kept if entry["row"] != name]
        given = {"source": _sources(flags.data), "date": facts["date"]}
        kept += [
            given | {k: v for k, v in as_json(result).items() if v != ""} for result in results
        ]
        for result in results:
            print(line(as_json(result)), flush=True)
        content = {"machine": facts, "results": sorted(kept, key=_order)}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_table()


def _sources(folder: str | None) -> str:
    if folder is None:
        return "the sample, repeated"
    return ", ".join(file.stem for file in sorted(Path(folder).glob("*.json")))


def _order(entry: dict[str, Any]) -> int:
    return list(ROWS).index(entry["row"])


def line(result: dict[str, Any]) -> str:
    """One row for people."""
    usual, ours, ratio = (result[name] for name in ("usual", "ours", "ratio"))
    return (
        f"{result['what']}: {_figure(usual['median'])} → {_figure(ours['median'])} "
        f"{result['unit']}, "
        f"{ratio['median']:.1f}x ({ratio['least']:.1f}–{ratio['most']:.1f}), target "
        f"{result['target']}x; limit {result['limit']}; {result['agreement']}"
    )


def write_table() -> None:
    """Put all results into the document, between the marks that it has for them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    tables = [_table(json.loads(file.read_text())) for file in sorted(RESULTS.glob("*.json"))]
    DOCUMENT.write_text(f"{before}{_BEGIN}\n\n{''.join(tables)}{_END}{after}", encoding="utf-8")


def _table(content: dict[str, Any]) -> str:
    facts = content["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    on = f"{facts['cpu']}, {facts['cores']} cores, {facts['capability']}; Python {facts['python']}"
    lines = [
        f"{on}, {versions}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    for entry in content["results"]:
        ratio = entry["ratio"]
        cells = [
            entry["what"],
            entry["unit"],
            _figure(entry["usual"]["median"]),
            _figure(entry["ours"]["median"]),
            f"**{ratio['median']:.1f}×** ({ratio['least']:.1f}–{ratio['most']:.1f})",
            f"{entry['target']}×",
            entry["limit"],
            entry["agreement"],
            f"{entry['questions']:,} of {entry['source']}",
            entry["date"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _figure(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def be_quiet() -> None:
    """Leave the screen to the results."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    datasets.disable_progress_bars()
    datasets.disable_caching()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("spanwise").setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
