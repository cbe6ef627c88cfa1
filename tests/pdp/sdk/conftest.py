"""One small policy set, which every gate is tried against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pdp

API = "spiffe://shop.example/api"

POLICY = """\
language 1
package shop

entity User
entity Table { pii: Bool }
entity Room

action select, insert, update, delete on Table { columns: Set<String>? claimed }
action read on Table { note: String? claimed, tags: Set<String>? claimed }
action enter on Room

task close_month {
  carries  month: String
  opened by spiffe://shop.example/planner
  who      spiffe://shop.example/api
  may      delete on Table
  lasts    at most 1h
}

allow ada { for User "ada" do read, select, insert, update, enter on any }
allow bob-reads { for User "bob" do read, select, enter on any }
allow eve-inserts { for User "eve" do insert on Table }
allow uma-updates { for User "uma" do update on Table }
allow closing { who spiffe://shop.example/api do delete on Table during close_month proof key }
@escapable("tests")
deny personal {
  for     User "bob"
  do      any
  on      Table
  when    resource.pii
  because "personal data is not for bob"
}
@escapable("tests")
deny noted { do read on Table when context has note and context.note == "stop" trusting context.note }

routes http "shop.example" {
  GET  /tables/{id}      -> read on Table(path.id) { tags: query.tag, note: header["x-note"] }
  GET  /                 -> enter on Room("lobby")
  HEAD /tables/{id}      -> read on Table(path.id)
  POST /tables/{id}/rows -> insert on Table(path.id)
  GET  /sub/tables/{id}  -> read on Table(path.id)
  GET  /live/{id}        -> enter on Room(path.id)
}
routes http "other.example" {
  GET  /tables/{id}      -> enter on Room(path.id)
}
"""

DATA = [
    {"type": "Table", "id": name, "attributes": {"pii": name == "people"}}
    for name in ("invoices", "people", "tags", "links")
]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> pdp.Engine:
    folder: Path = tmp_path_factory.mktemp("shop")
    (folder / "shop.policy").write_text(POLICY, "utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "shop.json").write_text(json.dumps(DATA), "utf-8")
    return pdp.Engine.load(folder)
