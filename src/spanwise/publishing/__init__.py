"""A reader onto the Hub: its files, a card that says what is so, a last look, one commit.

    publishing ─┬─ cards ─┬─ metadata ─ licences
                │         └─ results
                ├─ provenance ─ leaks
                └─ uploading

Nothing is written without a licence, nor where a secret or a path of the machine would be in it.
This package knows nothing about training, or about how a score is computed.
"""

from spanwise.publishing.publishing import CardOptions, publish_model, write_publication
from spanwise.publishing.uploading import check_access, check_name, upload_files

__all__ = [
    "CardOptions",
    "check_access",
    "check_name",
    "publish_model",
    "upload_files",
    "write_publication",
]
