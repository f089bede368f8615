"""Question and context become token windows with offsets and labels."""

from spanwise.windows.cutting import make_windows, stream_windows
from spanwise.windows.labelling import label_tokens
from spanwise.windows.pairing import PairTokenizer
from spanwise.windows.texts import is_mark

__all__ = ["PairTokenizer", "is_mark", "label_tokens", "make_windows", "stream_windows"]
