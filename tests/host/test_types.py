"""The host module's types are those of the contract, and it needs Node alone."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields

from host.conftest import MODULE
from materializer.ipc.contract import PARAMS
from materializer.model import camel

PROTOCOL = (MODULE / "protocol.ts").read_text()


def test_every_method_is_typed_with_what_it_takes() -> None:
    method = r'(?ms)^  "([a-z.]+)"\((?:params\??: \{(.*?)\})?\):'
    typed = {
        name: dict(re.findall(r"(\w+)(\??):", params))
        for name, params in re.findall(method, PROTOCOL)
    }
    taken = {
        name: {
            camel(field.name): "" if field.default is MISSING else "?"
            for field in fields(model)
        }
        for name, model in PARAMS.items()
    }
    assert typed == taken


def test_the_module_imports_nothing_but_node_and_itself() -> None:
    imported = {
        name
        for file in ("host.ts", "line.ts", "protocol.ts")
        for name in re.findall(r'from "([^"]+)"', (MODULE / file).read_text())
    }
    assert {name for name in imported if not name.startswith(("node:", "./"))} == set()
    assert "node:net" in imported
