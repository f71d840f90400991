# SPDX-License-Identifier: Apache-2.0
"""ai: proposes customs headings (HS codes) for goods described in Korean or English."""
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

import classify
import server

TEXT_MAX = 500  # characters of one description


def hs_code(text):
    if not isinstance(text, str) or not 0 < len(text.strip()) <= TEXT_MAX:
        return 422, {"error": f"text (1 to {TEXT_MAX} characters)"}
    return 200, {"text": text, "codes": classify.propose(text)}


def get_hs_code(query, _body):
    return hs_code(parse_qs(query).get("text", [""])[0])


def post_hs_code(_query, body):
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return 400, {"error": "the body must be JSON"}
    return hs_code(asked.get("text") if isinstance(asked, dict) else None)


ROUTES = {
    ("GET", "/v1/hs-code"): get_hs_code,
    ("POST", "/v1/hs-code"): post_hs_code,
}


def main():
    port = os.environ.get("PORT") or "8080"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        server.log("error", "server", "PORT is not 0 to 65535")
        return 1
    return server.run(int(port), ROUTES)


if __name__ == "__main__":
    sys.exit(main())
