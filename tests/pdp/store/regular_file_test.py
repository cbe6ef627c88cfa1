"""Finding S11: what stands in the place of a configured file and is no file is refused at once, wherever one is read."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from language import PolicyErrors
from pdp.errors import PdpError
from pdp.identity import TrustStore
from pdp.record import Kind, Step
from pdp.record.line import Head, parse_line
from pdp.server.config import load_config, read_config
from pdp.server.development import trust_development
from pdp.server.signing_keys import read_people
from pdp.server.tls import FilesCertificate
from pdp.store.data_files import read_content
from pdp.store.dev_domain import open_domain
from pdp.store.files import digest_of, read_bytes, read_sources
from pdp.store.grants.sqlite import SqliteStore
from pdp.store.grants.witness import Witness
from pdp.store.issuer_keys import FILE as ISSUER_KEYS
from pdp.store.issuer_keys import read_issuer_keys
from pdp.store.private_files import read_private
from pdp.store.record_files import RecordFiles, RecordSettings
from pdp.store.record_heads import Signed, SignedHead
from pdp.store.record_keys import SIGNING, open_keys, read_public_key
from pdp.store.record_reader import find_segments, read_lines, read_record
from pdp.store.regular_file import open_regular, read_regular
from pdp.store.trust import EndpointSource, FileSource, Trust, WebServer
from tests.pdp.server.world import DOMAIN, SERVER, Identities, now_us

WITHIN_S = 20
FIRST = "record-00000001.ndjson"


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))
    path.chmod(0o600)


def terminal(path: Path) -> None:
    """A device at which nobody types."""
    path.symlink_to("/dev/ptmx")


KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": fifo,
    "folder": lambda path: path.mkdir(mode=0o700),
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": terminal,
}


def certificate(folder: Path, other: str) -> FilesCertificate:
    """Ours, of which one file is the other thing."""
    places = Identities(folder).write(SERVER, "own")
    own = {"certificate": places[0], "key": places[1], other: folder / "it"}
    return FilesCertificate(own["certificate"], own["key"], TrustStore, now_us)


def people(folder: Path) -> Any:
    return read_config({"people": {"https://login.test": {"audience": "pdp", "keys": "it"}}}, folder)


def development(folder: Path) -> Any:
    return read_config({"development": {"enabled": True, "ca": str(folder)}}, folder)


def older_file(folder: Path) -> object:
    """A start that looks for its last signed entry, before the last file."""
    keys = open_keys(folder / "keys")
    with RecordFiles(folder / "made", keys, RecordSettings(segment_bytes=1)) as record:
        for _ in range(2):
            record.stepped(Step(Kind.GRANT, "opened", 1))
            record.flush(WITHIN_S)
    path = find_segments(folder / "made")[-1]
    path.rename(folder / path.name)
    header = parse_line(next(read_lines(folder / path.name)))
    assert header is not None
    SignedHead(keys.folder, folder).keep(Signed(header.data()["record"], Head(0, "0" * 64)))
    return RecordFiles(folder, keys)


#: By what is read: the name of the file, and what reads it.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a bundle": ("it", lambda f: FileSource(f / "it", DOMAIN).read(TrustStore(), 0)),
    "CAs of an endpoint": (
        "it",
        lambda f: EndpointSource(DOMAIN, "https://localhost:1/", WebServer(f / "it")).read(TrustStore(), 0),
    ),
    "a configuration": ("it", lambda f: load_config(f / "it", {})),
    "our certificate": ("it", lambda f: certificate(f, "certificate").current()),
    "our key": ("it", lambda f: certificate(f, "key").current()),
    "keys of people": ("it", lambda f: read_people(people(f))),
    "a development domain": ("bundle.json", lambda f: trust_development(development(f), Trust(), now_us())),
    "a domain of `pdp dev ca`": ("root.pem", open_domain),
    "a policy": ("it.policy", lambda f: read_sources([f / "it.policy"])),
    "data": ("it.json", lambda f: read_content(f / "it.json")),
    "the digest of a set": ("it", lambda f: digest_of([(f / "it", read_bytes(f / "it"))])),
    "a private file": ("it", lambda f: read_private(f / "it")),
    "issuer keys": (ISSUER_KEYS, read_issuer_keys),
    "keys of the record": (SIGNING, open_keys),
    "a record": (FIRST, lambda f: list(read_record(f))),
    "the end of a record": (FIRST, lambda f: RecordFiles(f, open_keys(f / "keys"))),
    "a record before its end": (FIRST, older_file),
    "a public key": ("it", lambda f: read_public_key(f / "it")),
    "the store": ("it", lambda f: SqliteStore(f / "it")),
    "its witness": ("it", lambda f: Witness(f / "it")),
}


def in_time(read: Callable[[], object]) -> BaseException:
    """What it raises. A reader that waits is given up, so that the test fails."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001  # for the test to see
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    assert not thread.is_alive(), "it waits"
    assert raised, "it was taken"
    return raised[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_and_waited_for_by_nobody(reader: str, kind: str, folder: Path) -> None:
    name, read = READERS[reader]
    KINDS[kind](folder / name)
    error = in_time(lambda: read(folder))
    assert isinstance(error, (PdpError, PolicyErrors)), error
    code = error.code if isinstance(error, PdpError) else error.diagnostics[0].code
    assert code in ("invalid_file", "trust_unavailable", "store_unavailable", "unreadable")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_said_that_it_is_no_file(kind: str, folder: Path) -> None:
    KINDS[kind](folder / "it")
    error = in_time(lambda: read_regular(folder / "it"))
    assert isinstance(error, OSError)
    assert error.strerror == "it is no regular file"


def test_a_file_is_read_through_links_and_no_further_than_it_may(folder: Path) -> None:
    (folder / "file").write_bytes(b"content")
    (folder / "link").symlink_to("file")
    assert [read_regular(folder / "link"), read_regular(folder / "link", 4)] == [b"content", b"cont"]


def test_what_is_changed_is_no_link(folder: Path) -> None:
    """Review 12: a file of a record that was a link had the end of another file cut off."""
    (folder / "file").write_bytes(b"one\ntwo")
    (folder / FIRST).symlink_to("file")
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(folder / FIRST, change=True)
    with pytest.raises(PdpError, match="invalid_file"):
        RecordFiles(folder, open_keys(folder / "keys"))
    assert (folder / "file").read_bytes() == b"one\ntwo"
