"""What a verifier can find wrong with a record. The codes are stable: other programs may branch on them."""

from __future__ import annotations

from dataclasses import dataclass

from pdp.record.line import Head

FINDING_CODES = {
    "edited": "an entry is not what was written here: it, or the one before it, was changed",
    "cut": "entries are missing",
    "reordered": "an entry stands later than it was written",
    "duplicated": "an entry stands twice",
    "inserted": "an entry stands here that does not belong to the chain",
    "malformed_line": "a line is not an entry",
    "torn_line": "the last line is not whole: a crash that no restart has repaired, or a cut",
    "bad_segment": "a file does not begin with its header, or its header belongs elsewhere",
    "missing_segment": "a file is missing",
    "missing_start": "the record does not begin with its first file",
    "forged_checkpoint": "a checkpoint's signature is not of the key that it names",
    "unknown_key": "a checkpoint names a key that is not among those to trust",
    "wrong_checkpoint": "a checkpoint is signed, but for another place or another record",
    "checkpoint_missing": "more entries than the writer would leave stand without a checkpoint",
    "adopted": "entries that were not signed when they were written: a later start of the writer signed them",
    "set_back": "at a start of the writer, what it had signed last was not there any more",
    "unsigned_end": "entries at the end stand without a signature where, or for longer than, the writer would leave them",
    "wrong_record": "the record is another one than it should be here",
    "cut_end": "an entry that was there is not there any more: the end was cut off, or the record was set back",
}
#: What a writer found at a start and wrote down. It stays a finding until somebody has looked into it.
TOLD_BY_THE_WRITER = frozenset({"adopted", "set_back"})


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    where: str  # FILE:LINE
    seq: int | None
    message: str
    hash: str = ""  # of the entry, where the finding is what the writer says in it

    def __str__(self) -> str:
        return f"{self.where}: {self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What the lines of a record are, taken together."""

    findings: tuple[Finding, ...]
    more: int  # findings beyond those that are kept
    entries: int
    checkpoints: int  # valid ones
    uncovered: int  # entries after the last valid checkpoint: a change there that keeps the chain would not be found
    begins: int  # the number of the first file that is there
    head: Head
    record: str | None
    name: str | None  # as the first file names it: the folder that it was written to
    signed_us: int | None  # when the last valid checkpoint was made
    keys: tuple[str, ...]  # ids of the keys of valid checkpoints

    @property
    def ok(self) -> bool:
        return not self.findings
