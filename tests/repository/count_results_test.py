"""What the closing line of scripts/test counts, on outputs as the test runners write them."""

import tempfile
import unittest
from pathlib import Path
from xml.sax.saxutils import escape

from count_results import Totals, count, unexpected

GTEST = """[==========] Running 4 tests from 2 test suites.
[ RUN      ] Plan.Fits
[       OK ] Plan.Fits (0 ms)
[ RUN      ] Plan.NeedsTwoHosts
plan_test.cc:12: Skipped
needs network namespaces

[  SKIPPED ] Plan.NeedsTwoHosts (0 ms)
[ RUN      ] All/Store.Waits/tcp
[  FAILED  ] All/Store.Waits/tcp, where GetParam() = "tcp" (12 ms)
[ RUN      ] Plan.Last
[       OK ] Plan.Last (0 ms)
[==========] 4 tests from 2 test suites ran. (12 ms total)
[  PASSED  ] 2 tests.
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] Plan.NeedsTwoHosts
[  FAILED  ] 1 test, listed below:
[  FAILED  ] All/Store.Waits/tcp, where GetParam() = "tcp"
"""
PYTEST = """
=========================== short test summary info ============================
SKIPPED [2] test_update.py:7: needs two hosts
FAILED test_update.py::test_digests - assert 1 == 2
==================== 1 failed, 3 passed, 2 skipped in 0.12s ====================
"""
UNITTEST = "FAIL: test_x (a.B.test_x)\n----\nRan 3 tests in 0.1s\n\nFAILED (failures=1)\n"


def entry(name: str, status: str, output: str = "", inside: str = "") -> str:
    return f'<testcase name="{name}" status="{status}">{inside}<system-out>{escape(output)}</system-out></testcase>'


def totals_of(*entries: str, records: str = "") -> Totals:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "unit.xml").write_text(f"<testsuite>{''.join(entries)}</testsuite>")
        (Path(folder) / "fuzz.records").write_text(records)
        return count(Path(folder))


class Counting(unittest.TestCase):
    def test_cases_of_googletest(self):
        totals = totals_of(entry("unit.plan", "fail", GTEST, "<failure/>"))
        self.assertEqual(totals.passed, 2)
        self.assertEqual(totals.failed, ["unit: unit.plan: All/Store.Waits/tcp"])
        self.assertEqual(totals.skipped, ["unit: unit.plan: Plan.NeedsTwoHosts: needs network namespaces"])

    def test_cases_of_pytest(self):
        totals = totals_of(entry("e2e.update", "fail", PYTEST, "<failure/>"))
        self.assertEqual((totals.passed, len(totals.failed), len(totals.skipped)), (3, 1, 2))
        self.assertIn("test_digests", totals.failed[0])
        self.assertIn("needs two hosts", totals.skipped[1])

    def test_cases_of_unittest(self):
        totals = totals_of(entry("layers.x", "fail", UNITTEST, "<failure/>"))
        self.assertEqual((totals.passed, len(totals.failed)), (2, 1))

    def test_a_crash_counts_as_a_failure_beside_the_cases_that_passed(self):
        totals = totals_of(entry("unit.plan", "fail", "[       OK ] Plan.Fits (0 ms)\n[ RUN      ] Plan.Crashes\nSegmentation fault\n", "<failure/>"))
        self.assertEqual((totals.passed, totals.failed), (1, ["unit: unit.plan: Segmentation fault"]))

    def test_an_executable_that_is_not_there_is_a_failure(self):
        totals = totals_of(entry("unit.plan", "notrun", "Unable to find executable", '<skipped message="Unable to find executable"/>'))
        self.assertEqual((totals.passed, len(totals.failed), totals.skipped), (0, 1, []))

    def test_skip_by_return_code_keeps_its_reason(self):
        totals = totals_of(entry("format", "notrun", "skipped: no clang-format", '<skipped message="SKIP_RETURN_CODE=77"/>'))
        self.assertEqual((totals.passed, totals.failed, totals.skipped), (0, [], ["unit: format: skipped: no clang-format"]))

    def test_what_a_machine_may_lack_is_expected(self):
        skipped = ["e2e: two_hosts: no namespaces: ip netns: not permitted", "format: no clang-format"]
        self.assertEqual(unexpected(skipped, "namespaces"), skipped[1:])
        self.assertEqual(unexpected(skipped, ""), skipped)

    def test_other_tests_count_once(self):
        self.assertEqual(totals_of(entry("x", "run", "fine")).passed, 1)

    def test_records_of_other_tools(self):
        totals = totals_of(records="fuzz\theader\tpassed\t\nfuzz\treply\tfailed\tcrash-1\nfuzz\tcanary\tskipped\tno clang\n")
        self.assertEqual((totals.passed, totals.failed, totals.skipped), (1, ["fuzz: reply: crash-1"], ["fuzz: canary: no clang"]))


if __name__ == "__main__":
    unittest.main()
