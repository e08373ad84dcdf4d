"""Counts a whole test run: every case of GoogleTest, pytest and unittest inside the ctest entries, and records of other tools.

Usage: count_results.py DIRECTORY [--stopped-in PHASE]

Reads DIRECTORY/*.xml (ctest --output-junit) and DIRECTORY/*.records (lines "group<TAB>name<TAB>passed|failed|skipped<TAB>reason"). PHASE is what ended the
run early: it counts as a failure unless a test failed (a build, for example). Prints failed and skipped tests with reasons, then the one line
"N passed, N failed, N skipped". Exit code 1 when a test failed, none ran, or one was skipped with CI=true in the environment. CKPT_MAY_LACK names what
that machine may be without ("namespaces"): a skip whose reason has this word is counted and printed, and fails nothing.
"""

import os
import re
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

GTEST_CASE = re.compile(r"^\[  (     OK |FAILED  |SKIPPED ) ?\] (\S+?),?(?: where .*)? \(\d+ ms\)$")
PYTEST_END = re.compile(r"^=+ (.*) in [\d.]+s.* =+$")
PYTEST_PART = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)")
PYTEST_REASON = re.compile(r"^SKIPPED \[(\d+)\] ([^:]+:?\d*): (.*)$")
UNITTEST_END = re.compile(r"^Ran (\d+) tests? in ")


@dataclass
class Totals:
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def count_gtest(test: str, lines: list[str], totals: Totals) -> bool:
    found = False
    for index, line in enumerate(lines):
        if not (match := GTEST_CASE.match(line)):
            continue
        found = True
        verdict, case = match.group(1).strip(), match.group(2)
        if verdict == "OK":
            totals.passed += 1
        elif verdict == "FAILED":
            totals.failed.append(f"{test}: {case}")
        else:  # "file:line: Skipped", the reason, an empty line, then this line
            start = next((at for at in range(index, -1, -1) if lines[at].endswith(": Skipped")), index)
            reason = " ".join(text for text in lines[start + 1 : index] if text.strip())
            totals.skipped.append(f"{test}: {case}: {reason or 'no reason given'}")
    return found


def count_pytest(test: str, lines: list[str], totals: Totals) -> bool:
    end = next((match.group(1) for line in reversed(lines) if (match := PYTEST_END.match(line)) and PYTEST_PART.search(match.group(1))), None)
    if end is None:
        return False
    counts = {kind: int(number) for number, kind in PYTEST_PART.findall(end)}
    totals.passed += counts.get("passed", 0) + counts.get("xfailed", 0)
    failures = [f"{test}: {line}" for line in lines if re.match(r"^(FAILED|ERROR) \S+", line)]
    num_failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0) + counts.get("xpassed", 0)
    totals.failed += failures[:num_failed] + [f"{test}: a case"] * (num_failed - len(failures))
    reasons = [f"{test}: {m.group(2)}: {m.group(3)}" for line in lines if (m := PYTEST_REASON.match(line)) for _ in range(int(m.group(1)))]
    num_skipped = counts.get("skipped", 0)
    totals.skipped += reasons[:num_skipped] + [f"{test}: a case: no reason given (run pytest with -rs)"] * (num_skipped - len(reasons))
    return True


def count_unittest(test: str, lines: list[str], totals: Totals) -> bool:
    ran = next((int(match.group(1)) for line in reversed(lines) if (match := UNITTEST_END.match(line))), None)
    if ran is None or not lines:
        return False
    failures = [f"{test}: {line}" for line in lines if re.match(r"^(FAIL|ERROR): ", line)]
    totals.failed += failures
    totals.passed += max(ran - len(failures), 0)
    return True


def count_ctest(path: Path, totals: Totals) -> None:
    for case in xml.parse(path).getroot().iter("testcase"):
        test, status = f"{path.stem}: {case.get('name')}", case.get("status")
        output = (case.findtext("system-out") or "").splitlines()
        last_line = next((line for line in reversed(output) if line.strip()), "no output")
        num_failed = len(totals.failed)
        if status in ("notrun", "disabled"):  # not run for a reason of its own, or because its executable is missing
            skip = case.find("skipped")
            asked = status == "disabled" or (skip is not None and skip.get("message", "").startswith("SKIP_"))
            (totals.skipped if asked else totals.failed).append(f"{test}: {last_line}")
            continue
        counted = any(count(test, output, totals) for count in (count_gtest, count_pytest, count_unittest))
        if status != "run" and len(totals.failed) == num_failed:  # crashed, timed out, leaked: no case of it says so
            totals.failed.append(f"{test}: {last_line}")
        elif not counted and status == "run":
            totals.passed += 1


def count_records(path: Path, totals: Totals) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        group, name, verdict, *reason = line.split("\t")
        text = f"{group}: {name}: {' '.join(reason)}"
        if verdict == "passed":
            totals.passed += 1
        else:
            (totals.skipped if verdict == "skipped" else totals.failed).append(text)


def count(directory: Path) -> Totals:
    totals = Totals()
    for path in sorted(directory.glob("*.xml")):
        count_ctest(path, totals)
    for path in sorted(directory.glob("*.records")):
        count_records(path, totals)
    return totals


def unexpected(skipped: list[str], may_lack: str) -> list[str]:
    """The skips whose reason has none of the words in `may_lack`, which are separated by commas."""
    words = [word for word in may_lack.split(",") if word]
    return [skip for skip in skipped if not any(word in skip for word in words)]


def main() -> int:
    totals = count(Path(sys.argv[1]))
    if sys.argv[2:3] == ["--stopped-in"] and not totals.failed:
        totals.failed.append(f"{sys.argv[3]}: see its output above")
    for title, entries in (("failed", totals.failed), ("skipped", totals.skipped)):
        if entries:
            print(f"\n{title}:")
            for entry in entries:
                print(f"  {entry}")
    skip_fails = os.environ.get("CI") == "true" and unexpected(totals.skipped, os.environ.get("CKPT_MAY_LACK", ""))
    if skip_fails:
        print("\nCI=true: a skipped test fails the run")
    print(f"\n{totals.passed} passed, {len(totals.failed)} failed, {len(totals.skipped)} skipped")
    return 1 if totals.failed or skip_fails or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
