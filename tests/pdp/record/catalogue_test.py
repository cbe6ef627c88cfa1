"""Section J of the catalogue of faults: each row with the answer that it names, or with why it cannot be given yet."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent

#: Number, name: the tests that show the answer; those of other folders with their folder below `tests/pdp`.
ROWS = {
    (166, "log-sink-down"): [
        "files_test.test_a_full_disk_follows_the_policy_and_comes_back_without_a_hand",
        "files_test.test_a_full_queue_follows_the_policy",
        "files_test.test_a_next_file_that_cannot_be_made_lets_this_one_grow",
        "server.faults_test.test_166_disk_full_for_the_record",
    ],
    (167, "crash-before-flush"): [
        "files_test.test_kill_minus_9_in_mid_write_loses_nothing_that_was_flushed",
        "files_test.test_flush_says_when_it_is_on_disk",
        "files_test.test_a_torn_tail_is_cut_off_and_said",
        "log_test.test_a_line_that_is_being_written_is_no_entry_yet",
        "server.faults_connections_test.test_153_cancelled_calls",  # killed in the middle, and whole afterwards
    ],
    (168, "log-injection"): [
        "entries_test.test_any_value_is_told_and_told_back_or_marked",
        "entries_test.test_a_huge_text_is_cut_with_a_mark",
        "entries_test.test_a_huge_entry_keeps_what_was_decided",
        "entries_test.test_a_caller_cannot_imitate_a_mask_or_a_cut",
        "log_test.test_text_is_one_line_an_entry_and_cannot_move_the_cursor",
    ],
    (169, "secret-in-log"): [
        "entries_test.test_a_token_is_never_in_the_text",
        "entries_test.test_a_declared_secret_is_never_in_the_text_and_matches_wherever_it_is_seen",
        "entries_test.test_secrets_of_the_directory_are_masked_in_the_evidence",
        "canary_test.test_no_secret_reaches_the_disk",
    ],
    (170, "log-gap-tamper"): [
        "verify_test.test_tampering_is_found_by_its_code_at_its_place",
        "verify_test.test_any_change_of_covered_bytes_is_found",
        "verify_test.test_files_belong_together",
    ],
    (171, "replay-mismatch"): [
        "entries_test.test_every_decision_replays_the_same",
        "entries_test.test_a_changed_entry_replays_otherwise",
        "log_test.test_replay",
    ],
}

#: What the rows ask for and this part alone cannot show.
NOT_YET = {
    167: "an allow is answered when the record has taken it, before it is on disk: a kill loses the queue, as is stated",
    171: "a job in CI that replays samples of a production record belongs to whoever runs one: `pdp log replay` is that job",
}


@pytest.mark.parametrize(("row", "tests"), ROWS.items(), ids=[f"{n} {name}" for n, name in ROWS])
def test_every_row_has_its_tests(row: tuple[int, str], tests: list[str]) -> None:
    for name in tests:
        module, _, function = name.rpartition(".")
        module = module if "." in module else f"record.{module}"
        assert callable(getattr(importlib.import_module(f"tests.pdp.{module}"), function)), name


def test_the_section_is_complete() -> None:
    assert [n for n, _ in ROWS] == list(range(166, 172))
    assert set(NOT_YET) <= {n for n, _ in ROWS}


def test_no_test_here_sleeps() -> None:
    for path in HERE.glob("*_test.py"):
        assert not re.search(
            r"\btime\.sleep\(|\bsleep\(\d", path.read_text("utf-8").split("def test_no_test_here_sleeps")[0]
        ), path
