"""The licence that a model is published under: one that the Hub knows, or one that is linked.

huggingface_hub has no list of identifiers, so it stands here; the Hub has the last word when it is
sent a card. Its `unknown` is left out: that is none.

Source: huggingface.co/docs/hub/repositories-licenses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from spanwise.errors import ConfigError

OTHER = "other"

_IDENTIFIERS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl apple-ascl
    mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license llama2 llama3 llama3.1 llama3.2 llama3.3 gemma other
"""

LICENCES = frozenset(_IDENTIFIERS.split())
"""The identifiers that the Hub knows."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence as the front matter of a card gives it.

    Attributes:
        identifier: one of `LICENCES`.
        name: of a licence that is `other`.
        link: to its text.
    """

    identifier: str
    name: str | None = None
    link: str | None = None


def choose_licence(
    identifier: str | None,
    *,
    name: str | None = None,
    link: str | None = None,
    stated: Mapping[str, Any],
) -> Licence:
    """Take the licence that is asked for, else the one that the model's own card states.

    Args:
        identifier: one of `LICENCES`, in any case; None: the stated one.
        name: of a licence that is `other`.
        link: to its text.
        stated: front matter of the card that the model came with.

    Raises:
        ConfigError: there is none, the Hub does not know it, or `other` without name or link, or
            another one with them.
    """
    if identifier not in {None, OTHER} and (name or link):
        raise ConfigError(
            f"name {name!r} and link {link!r} are given with the license {identifier!r}; they are "
            "for 'other': leave them out, or say --license other"
        )
    if identifier is None:
        identifier = stated.get("license")
        name, link = name or stated.get("license_name"), link or stated.get("license_link")
    if not isinstance(identifier, str) or not identifier.strip():
        several = f" (its card states {identifier!r}, which is not one)" if identifier else ""
        raise ConfigError(
            f"no licence is stated{several}, and nothing is published without one; say which: "
            "--license apache-2.0, --license cc-by-4.0, … "
            "(all: huggingface.co/docs/hub/repositories-licenses)"
        )
    known = identifier.strip().lower()
    if known not in LICENCES:
        near = get_close_matches(known, LICENCES, n=3)
        meant = f"did you mean {' or '.join(near)}? Others are given" if near else "give it"
        raise ConfigError(
            f"license {identifier!r} is none that the Hub knows; {meant} as --license other "
            "--license-name NAME --license-link URL"
        )
    if known != OTHER:
        return Licence(identifier=known)
    link_text, name = str(link or ""), name and str(name)
    if not name or not link_text.startswith(("https://", "http://")):
        raise ConfigError(
            f"license 'other' has the name {name!r} and the link {link!r}; it needs both, and the "
            "link leads to its text: --license-name NAME --license-link https://…"
        )
    return Licence(identifier=known, name=name, link=link_text)
