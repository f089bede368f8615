"""Logits in, ranked quotes out: the best spans of a question over all its windows and contexts.

    decoder ── search ── rows

What is decoded, exactly:

- `Batch.edges` say where an answer starts that starts at a token, and where one ends that ends
  there. A *start* of a window is a distinct `edges[..., 0]`, scored by the highest start logit of
  its tokens; an *end* is a distinct `edges[..., 1]`, likewise. So the byte pieces of one emoji are
  one place, and a blank token lends its logits to the words on either side.
- A *span* is a start before an end. It is as long as the starts it holds, its own included: at most
  `max_answer_tokens`. In ordinary text that is its number of tokens; where tokens repeat, overlap,
  stand out of order or are blank it is still well defined, because only characters count.
- Its score is the float32 sum of its start and end scores. Equal spans of two windows of a context
  are one span with the higher score. Best is the highest score; of equal scores the earlier
  context, then the earlier start, then the shorter span.
- The null score of a question is the lowest over its windows.
- Probabilities are one softmax over the `n_best` best spans of the question and null.

Each of the K best spans of a question is among the K best of some window, so a window leaves no
more than that, and the windows of an example no more than one of them.

This package knows nothing about tokenizers and models, and of a text only its offsets.
"""

from spanwise.decoding.decoder import Decoder, check_top_k

__all__ = ["Decoder", "check_top_k"]
