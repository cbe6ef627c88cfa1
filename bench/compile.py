"""From text to functions: `python -m bench.compile`.

Ten thousand rules of eight lines in a hundred files, compiled once; one file changed and compiled again by the same
`Compiler`; and `pdp check` of ten files as a new process, beside a Python that does nothing. Cedar's parser and validator
read as many policies that say the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cedarpy

from bench.report import Detail, Figure, Report, finish, joined
from bench.timing import median, seconds
from language import Compiler, Source
from language.syntax.parse import parse

FILES, QUICK_FILES, RULES_PER_FILE = 100, 10, 100
COMPILE_GOAL_S, CHANGE_GOAL_S, CHECK_GOAL_S = 12.0, 0.5, 0.4
CHECK_FILES, CHECK_RULES_PER_FILE, CHECK_RUNS = 10, 10, 9

VOCABULARY = """language 1
package bench

enum   Stage { draft, final, archived }
entity Team in Team
entity User in Team { level: Int, clearance: Int }
entity Folder in Folder { tenant: String }
entity Document in Folder { tenant: String, owner: User, stage: Stage, sensitivity: Int, tags: Set<String> }
workload in Team { tenant: String? }
action read, write, share, delete on Document { reason: String? claimed }
"""

#: Rules of eight lines, as people write them; `n` makes each another one.
RULES = (
    """allow team-reads-{n} {{
  for    User in Team "team-{n}"
  do     read, write
  on     Document in Folder "folder-{n}"
  when   resource.tenant == "tenant-{n}"
  unless resource.sensitivity > user.clearance
  because "team {n} works in its folder"
}}
""",
    """allow service-reads-{n} {{
  who    spiffe://prod.acme/ns/team-{n}/*
  do     read
  on     Document in Folder "folder-{n}"
  when   resource.stage == final and "export-{n}" in resource.tags
  unless resource.sensitivity >= 3
  because "the exporter of team {n} reads what is final"
}}
""",
    """allow owner-shares-{n} {{
  for    User
  do     share, delete
  on     Document in Folder "folder-{n}"
  when   resource.owner == user and user.level >= 2
  unless resource.stage == archived
  because "owners share what is not archived"
}}
""",
    """deny archive-stays-{n} {{
  do     write, share, delete
  on     Document in Folder "folder-{n}"
  when   resource.stage == archived
         and resource.tenant == "tenant-{n}"
  unless user is User and user in Team "archivists-{n}"
  because "the archive of tenant {n} stays"
}}
""",
)

CEDAR = (
    """permit (
  principal is User in Team::"team-{n}", action in [Action::"read", Action::"write"], resource in Folder::"folder-{n}")
when {{ resource.tenant == "tenant-{n}" }}
unless {{ resource.sensitivity > principal.clearance }};
""",
    """permit (
  principal == Workload::"spiffe://prod.acme/ns/team-{n}/x", action == Action::"read", resource in Folder::"folder-{n}")
when {{ resource.stage == "final" && resource.tags.contains("export-{n}") }}
unless {{ resource.sensitivity >= 3 }};
""",
    """permit (principal is User, action in [Action::"share", Action::"delete"], resource in Folder::"folder-{n}")
when {{ resource.owner == principal && principal.level >= 2 }}
unless {{ resource.stage == "archived" }};
""",
    """forbid (principal, action in [Action::"write", Action::"share", Action::"delete"], resource in Folder::"folder-{n}")
when {{ resource.stage == "archived" && resource.tenant == "tenant-{n}" }}
unless {{ principal is User && principal in Team::"archivists-{n}" }};
""",
)

CEDAR_SCHEMA = """
entity Team in [Team];
entity User in [Team] { level: Long, clearance: Long };
entity Workload in [Team];
entity Folder in [Folder] { tenant: String };
entity Document in [Folder] { tenant: String, owner: User, stage: String, sensitivity: Long, tags: Set<String> };
action read, write, share, delete appliesTo { principal: [User, Workload], resource: [Document] };
"""


def measure(*, quick: bool = False) -> Report:
    """All rules, once."""
    files = QUICK_FILES if quick else FILES
    sources, rules = sources_of(files, RULES_PER_FILE), files * RULES_PER_FILE
    parse_s, _ = seconds(lambda: [parse(s) for s in sources])
    compile_s, bundle = seconds(lambda: Compiler().compile(sources))
    assert len(bundle.program.rules) == rules
    cedar_text = "".join(CEDAR[n % len(CEDAR)].format(n=n) for n in range(rules))
    cedar_parse_s, _ = seconds(lambda: cedarpy.PolicySet.from_str(cedar_text))
    cedar_s, valid = seconds(lambda: cedarpy.validate_policies(cedar_text, CEDAR_SCHEMA))
    assert valid.validation_passed, valid.errors[:1]
    figure = Figure(
        f"compile {rules:,} rules of eight lines", compile_s, "s", None if quick else COMPILE_GOAL_S,
        "Cedar 4.12, parse and validate", cedar_s,
    )  # fmt: skip
    rows = (
        ("parse", f"{parse_s:.2f}", f"{cedar_parse_s:.2f}"),
        ("check, plan, emit, load", f"{compile_s - parse_s:.2f}", f"{cedar_s - cedar_parse_s:.2f} (validate)"),
    )
    note = f"Seconds; {rules:,} rules in {files} files, and one file of vocabulary."
    return Report((figure,), (Detail("From text to functions", ("stage", "ours", "Cedar"), rows, note),))


def measure_change(*, quick: bool = False) -> Report:
    """All rules once, and then again with one file changed, by the same compiler."""
    files = QUICK_FILES if quick else FILES
    sources, compiler = sources_of(files, RULES_PER_FILE), Compiler()
    compiler.compile(sources)
    changes = list(_changes(compiler, sources))
    nothing_s, _ = seconds(lambda: compiler.compile(sources))
    figure = Figure(f"compile again, one file of {files} changed", median(changes), "s", None if quick else CHANGE_GOAL_S)
    rows = (
        ("one file changed: fastest, median, slowest", ", ".join(f"{s:.3f}" for s in _three(changes))),
        ("the last change taken back", f"{nothing_s:.3f}"),
    )
    return Report((figure,), (Detail("Compiling again", ("change", "seconds"), rows),))


def measure_check(*, quick: bool = False) -> Report:
    """`pdp check` as a user starts it."""
    runs = 3 if quick else CHECK_RUNS
    check_s, python_s = _checks(runs)
    what = f"`pdp check` of {CHECK_FILES} files, cold"
    return Report((Figure(what, check_s, "s", CHECK_GOAL_S, "python -c pass", python_s),), ())


def _three(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def sources_of(files: int, rules_per_file: int) -> list[Source]:
    sources = [Source("policies/vocabulary.policy", VOCABULARY)]
    for number_of_file in range(files):
        numbers = range(number_of_file * rules_per_file, (number_of_file + 1) * rules_per_file)
        text = "\n".join(RULES[n % len(RULES)].format(n=n) for n in numbers)
        sources.append(Source(f"policies/rules-{number_of_file:03}.policy", f"language 1\npackage bench\n\n{text}"))
    return sources


def _changes(compiler: Compiler, sources: list[Source]) -> Iterator[float]:
    """One rule becomes another one: in the first file of rules, in the last, and between."""
    count = len(sources) - 1
    for place in sorted({1, 1 + count // 4, 1 + count // 2, 1 + count * 3 // 4, count}):
        before = sources[place]
        changed = Source(before.path, before.text.replace('"tenant-', '"other-tenant-', 1))
        assert changed.text != before.text
        edited = [*sources[:place], changed, *sources[place + 1 :]]
        yield seconds(partial(compiler.compile, edited))[0]


def _checks(runs: int) -> tuple[float, float]:
    """Medians of `pdp check` and of a Python that does nothing, by turns, each a new process."""
    pdp = str(Path(sys.executable).with_name("pdp"))
    checks, nothings = [], []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources_of(CHECK_FILES - 1, CHECK_RULES_PER_FILE):
            path = Path(folder, source.path)
            path.parent.mkdir(exist_ok=True)
            path.write_text(source.text)
        for _ in range(runs + 1):
            checks.append(_run([pdp, "check", folder]))
            nothings.append(_run([sys.executable, "-c", "pass"]))
    return median(checks[1:]), median(nothings[1:])  # the first one may write .pyc files


def _run(command: list[str]) -> float:
    took, done = seconds(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    assert done.returncode == 0, done.stdout + done.stderr
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    options = parser.parse_args()
    finish(joined(each(quick=options.quick) for each in (measure, measure_change, measure_check)))
