"""The service's page: a history goes in, its interests and what each recalls are seen. One file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re

from recbole_mind.report.templates import render


def policy(page: str) -> str:
    """A content security policy under which the page's own style and script run, and nothing else."""

    def hashes(tag: str) -> str:
        parts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(p.encode()).digest()).decode()}'" for p in parts)

    style, script = hashes("style"), hashes("script")
    allowed = f"style-src {style}; " + (f"script-src {script}; connect-src 'self'; " if script else "")
    return f"default-src 'none'; {allowed}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


_TEXT = render("serving/http/templates/page.html", title="Recall")
PAGE, PAGE_POLICY = _TEXT.encode(), policy(_TEXT)
