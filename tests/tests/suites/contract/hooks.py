"""Keeps a run from ending its own caller: then every later answer would be 401, and nothing would be tried any more."""

import os
from urllib.parse import unquote

import schemathesis

CALLER = {"/users/{id}": os.environ["CALLER_USER"], "/credentials/{id}": os.environ["CALLER_KEY"]}
# No id of a row.
NOBODY = 2**62


@schemathesis.hook
def before_call(context, case, **kwargs):
    spared = next((id for path, id in CALLER.items() if case.path.startswith(path)), None)
    if spared is not None and case.method != "GET" and same(case.path_parameters.get("id"), spared):
        case.path_parameters["id"] = NOBODY
    if case.path == "/credentials/revoke" and isinstance(case.body, dict) and case.body.get("include_self") is True:
        case.body["include_self"] = False


def same(given, id):
    try:
        return int(unquote(str(given))) == int(id)
    except ValueError:
        return False
