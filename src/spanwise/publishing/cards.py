"""The text of a model card: only what the model's own files, or an evaluation made now, say.

This module knows nothing about the Hub, or about where the files lie.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from spanwise.checkpoints import BUILTIN, OFFLINE_ENCODER
from spanwise.publishing.licences import Licence
from spanwise.publishing.metadata import Model, card_data, widget
from spanwise.publishing.results import FITTED, LEARNT, Result
from spanwise.toml import write_toml

_TORCH = "'spanwise[torch]'"

_WARNINGS = {
    FITTED: "The threshold was fitted on these questions: expect lower scores on others.",
    LEARNT: "**The reader learnt from these questions: the scores say nothing about others.**",
}


def make_card(
    model: Model, results: Sequence[Result], *, licence: Licence, language: str = ""
) -> str:
    """The card of a model: front matter and text.

    Args:
        model: what is published.
        results: what was measured of it; empty where nothing was, which the card then says.
        licence: it is published under.
        language: of its data, ISO 639; "" states none.
    """
    data = card_data(model, results, licence=licence, language=language)
    sections = [
        f"# {model.repo.split('/')[-1]}",
        _opening(model),
        "## Use",
        *_use(model, language),
        "## Results",
        *_results(results),
        "## Probabilities and threshold",
        *_calibration(model, results),
        "## Training",
        *_training(model),
        "## Limits",
        _listed(_limits(model, results)),
        "## Versions",
        _versions(model),
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _opening(model: Model) -> str:
    classes = model.config.get("architectures") or [str(model.config.get("model_type", "unknown"))]
    kind = model.settings.head.get("kind")
    head = "a linear span head" if kind == "linear" else f"spanwise's `{kind}` span head"
    precision = "eight bits" if model.settings.export.get("precision") == "int8" else "float32"
    forms = ["safetensors"] if model.has_weights else []
    forms += [f"ONNX in {precision}"] if model.is_exported else []
    may_abstain = (
        ', or says "not in this text"'
        if model.settings.decode.use_null
        else "; it was not trained to say that there is none, and always answers"
    )
    return (
        "An extractive question-answering model: it reads a question and a text, and answers with "
        f"a quote from the text, its place and a probability{may_abstain}. "
        f"{_name(str(classes[0]))} with {head}, as {' and '.join(forms)}."
    )


def _use(model: Model, language: str) -> Iterator[str]:
    question, context = (json.dumps(text, ensure_ascii=False) for text in widget(language))
    yield (
        f"With spanwise (`pip install {'spanwise' if model.is_exported else _TORCH}`): texts of "
        "any length, places in the text, probabilities, and the threshold stored with the model."
    )
    yield _code(
        "from spanwise import Reader",
        "",
        f'reader = Reader.from_pretrained("{model.repo}")',
        f"question = {question}",
        f"context = {context}",
        "prediction = reader.answer(question, context)",
        "if prediction.best is None:",
        '    print("not in this text", prediction.null_probability)',
        "else:",
        "    answer = prediction.best",
        "    assert context[answer.start:answer.end] == answer.text",
        "    print(answer.text, answer.start, answer.end, answer.probability)",
    )
    yield _code(f'spanwise answer {model.repo} -q "…" -c text.txt', language="bash")
    if model.is_plain:
        yield from _plain_use(model, question, context)
    elif model.has_weights:
        yield (
            "Plain transformers loads the encoder alone: the span head is in `head.safetensors`, "
            "which spanwise reads."
        )
    else:
        yield "It has no PyTorch weights, so plain transformers does not load it."


def _plain_use(model: Model, question: str, context: str) -> Iterator[str]:
    pair = "context, question" if model.settings.window.context_first else "question, context"
    yield (
        "With plain transformers, which gives the logits of one window. This takes the likeliest "
        "span, where the first token stands for none; the threshold, long texts and probabilities "
        "are left to you."
    )
    yield _code(
        "import torch",
        "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{model.repo}")',
        f'model = AutoModelForQuestionAnswering.from_pretrained("{model.repo}").eval()',
        f"question = {question}",
        f"context = {context}",
        f'inputs = tokenizer({pair}, return_tensors="pt")',
        "with torch.no_grad():",
        "    logits = model(**inputs)",
        "scores = logits.start_logits[0, :, None] + logits.end_logits[0]",
        "is_span = torch.ones_like(scores).triu() > 0  # none ends before it starts",
        "first, last = divmod(int(scores.where(is_span, -torch.inf).argmax()), len(scores))",
        'print(tokenizer.decode(inputs["input_ids"][0, first : last + 1]))',
    )


def _results(results: Sequence[Result]) -> Iterator[str]:
    if not results:
        yield (
            "Nothing was measured for this card. `spanwise evaluate` scores the model on your own "
            "questions, as the official SQuAD scripts do."
        )
        return
    yield (
        "Exact match (EM) and F1 in percent, as the official scripts count them. In brackets: 95 % "
        "bootstrap intervals over the questions."
        if all("exact_low" in result.scores for result in results)
        else "Exact match (EM) and F1 in percent, as the official scripts count them."
    )
    for result in results:
        yield from _result(result)


def _result(result: Result) -> Iterator[str]:
    scores = result.scores
    title = _name(result.name) + (f", {result.seen}" if result.seen else "")
    yield "\n".join([f"| {title} | questions | EM | F1 |", "|---|---|---|---|", *_rows(result)])
    said = f"Answered {scores['answered']:.1f} % of the questions"
    if "auroc" in scores:
        said += f"; AUROC of answerability {scores['auroc']:.3f}"
    if "ece" in scores:
        said += (
            f"; calibration error (ECE) {scores['ece']:.3f}, where by chance alone a perfectly "
            f"calibrated reader would show {scores['ece_low']:.3f} to {scores['ece_high']:.3f}"
        )
    rules = f" Texts compared as `{result.language}`." if result.language else ""
    sha256 = f" sha256 of the data: `{result.sha256}`." if result.sha256 else ""
    warning = f" {_WARNINGS[result.seen]}" if result.seen else ""
    before = " Measured before the export to ONNX." if result.before_export else ""
    yield f"{said}.{rules}{sha256}{before}{warning}"


def _rows(result: Result) -> Iterator[str]:
    scores = result.scores
    for prefix, label in (
        ("", f"all, at the stored threshold {result.threshold:.3f}"),
        ("HasAns_", "with an answer (HasAns)"),
        ("NoAns_", "without one (NoAns)"),
    ):
        if f"{prefix}total" in scores:
            exact, f1 = (_interval(scores, f"{prefix}{name}") for name in ("exact", "f1"))
            yield f"| {label} | {scores[f'{prefix}total']:,.0f} | {exact} | {f1} |"
    if "best_f1" in scores:
        thresholds = f"EM {scores['best_exact_thresh']:.3f}, F1 {scores['best_f1_thresh']:.3f}"
        label = f"all, at the oracle thresholds, the best for this data ({thresholds})"
        best = f"{scores['best_exact']:.1f} | {scores['best_f1']:.1f}"
        yield f"| {label} | {scores['total']:,.0f} | {best} |"
    if "answerable_f1" in scores:
        never = f"{scores['answerable_exact']:.1f} | {scores['answerable_f1']:.1f}"
        yield f"| HasAns, were it never to abstain | {scores['HasAns_total']:,.0f} | {never} |"


def _interval(scores: Mapping[str, float], name: str) -> str:
    value = f"{scores[name]:.1f}"
    if f"{name}_low" not in scores:
        return value
    return f"{value} ({scores[f'{name}_low']:.1f}–{scores[f'{name}_high']:.1f})"


def _calibration(model: Model, results: Sequence[Result]) -> Iterator[str]:
    settings = model.settings
    fitted = settings.calibration
    if not fitted.fitted_on:
        yield (
            f"Nothing was fitted: probabilities are a plain softmax and uncalibrated, and the "
            f'threshold for "not in this text" is the default, {fitted.threshold:g}. `spanwise '
            f"calibrate {model.repo} yours.json --out calibrated` fits both on your own questions."
        )
        return
    yield (
        f"Fitted on {_name(fitted.fitted_on)}: temperature {fitted.temperature:.3f}, scale of null "
        f"{fitted.null_scale:.3g}, bias of null {fitted.null_bias:+.3f}. Above a null probability "
        f'of {fitted.threshold:.3f} the answer is "not in this text".'
        if settings.decode.use_null
        else f"Fitted on {_name(fitted.fitted_on)}: temperature {fitted.temperature:.3f}."
    )
    if not any("ece" in result.scores and not result.seen for result in results):
        yield "How honest the probabilities are on other data was not measured."


def _training(model: Model) -> Iterator[str]:
    provenance = model.settings.provenance
    base = str(provenance.get("base_model", "")) or model.source
    if not base and not provenance.get("train"):
        yield "How it was trained is not recorded in its files."
        return
    facts = [_base(base)] if base else []
    for split, label in (("train", "learnt from"), ("dev", "epoch chosen on")):
        if provenance.get(split):
            facts.append(f"{label} " + "; ".join(_sources(provenance[split])))
    for ancestor in provenance.get("ancestors", ()):
        known = [_base(str(ancestor["base_model"]))] if ancestor.get("base_model") else []
        if ancestor.get("train"):
            known.append("learnt from " + "; ".join(_sources(ancestor["train"])))
        facts.append(f"before that {', '.join(known)}")
    if provenance.get("mean_of"):
        facts.append("the mean of the weights of " + ", ".join(map(_name, provenance["mean_of"])))
    if "epoch" in provenance:
        facts.append(f"of the run, epoch {provenance['epoch']} is kept")
    if "minutes" in provenance:
        facts.append(f"{provenance['minutes']:g} minutes of training until then")
    yield _listed(facts)
    if provenance.get("recipe"):
        yield "The recipe, with every setting as it was (`spanwise train recipe.toml`):"
        yield _code(*write_toml(provenance["recipe"]).rstrip("\n").split("\n"), language="toml")


def _base(base: str) -> str:
    if base == BUILTIN:
        return f"made from the reader that spanwise carries, itself made from `{OFFLINE_ENCODER}`"
    return f"made from {_name(base)}"


def _sources(sources: Any) -> Iterator[str]:
    """Each file with its sha256, where that was kept."""
    hashes = sources if isinstance(sources, Mapping) else dict.fromkeys(sources)
    for name, sha256 in hashes.items():
        yield f"{_name(name)} ({f'sha256 {_name(str(sha256))}' if sha256 else 'no hash was kept'})"


def _limits(model: Model, results: Sequence[Result]) -> Iterator[str]:
    window, decode = model.settings.window, model.settings.decode
    yield (
        "It quotes one unbroken piece of a text: it does not count, reckon, say yes or no, or put "
        "an answer together from two places."
    )
    yield (
        f"Long texts are read in windows of up to {window.max_length} tokens that share "
        f"{window.stride}; of a question {window.max_question_tokens} tokens are read, and an "
        f"answer has {decode.max_answer_tokens} at most."
    )
    if not decode.use_null:
        yield "It was trained without unanswerable questions: it answers even where no answer is."
    elif any("NoAns_total" in result.scores for result in results):
        yield (
            "A confident answer can be wrong, and can be given where there is none: NoAns above "
            "says how often. Read the quote in its place."
        )
    else:
        yield "A confident answer can be wrong, and can be given where there is none."
    yield (
        "It was measured on the data above and nowhere else; texts, questions and languages unlike "
        "those it learnt from do worse."
        if results
        else "Texts, questions and languages unlike those it learnt from do worse."
    )


def _versions(model: Model) -> str:
    versions = model.settings.provenance.get("versions") or {}
    made = ", ".join(_name(f"{name} {number}") for name, number in versions.items())
    return f"Made with {made}. " * bool(made) + f"Published with spanwise {version('spanwise')}."


def _listed(entries: Iterable[str]) -> str:
    return "\n".join(f"- {entry}" for entry in entries)


def _code(*lines: str, language: str = "python") -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _name(text: str) -> str:
    """A name as code: no mark of Markdown or of a table in it is obeyed."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "/")
    return f"`{plain}`"
