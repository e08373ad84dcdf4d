"""Plants one violation of each rule into a small tree and expects the checks to find it."""

import tempfile
import unittest
from pathlib import Path

from check import problems

TABLE = """
| layer | library | holds | may use |
|---|---|---|---|
| 0 | `base` | everything's ground | |
| 1 | `os` | the system | `base` |
| 1 | `manifest` | values | `base` |
| 2 | `plan` | pure functions | everything below |
"""
CLEAN = {
    "docs/architecture.md": TABLE,
    "src/base/CMakeLists.txt": "ckpt_library(NAME base LAYER 0 PACKAGES fmt)\n",
    "src/os/CMakeLists.txt": "ckpt_library(NAME os LAYER 1 DEPS base PACKAGES numa)\n",
    "src/manifest/CMakeLists.txt": "ckpt_library(NAME manifest LAYER 1\n  DEPS base)\n",
    "src/plan/CMakeLists.txt": "ckpt_library(NAME plan LAYER 2 DEPS base manifest)\n",
    "include/ckpt/status.h": "/// Outcome.\n#pragma once\n#include <string>\n",
    "src/base/log.h": '/// Lines.\n#pragma once\n#include "ckpt/status.h"\n',
    "src/base/options.cc": "#include <cstdlib>\nauto x = getenv(name);\n",
    "src/os/file.h": '/// Files.\n#pragma once\n#include "base/log.h"\n',
    "src/os/file.cc": '#include "os/file.h"\n#include <fcntl.h>\n',
    "src/manifest/dtype.h": "/// Types.\n#pragma once\n",
    "src/plan/plan.h": '/// Plans.\n#pragma once\n#include "manifest/dtype.h"\n',
    "src/plan/plan_test.cc": '#include "plan/plan.h"\n#include "support/matchers.h"\n',
}




def problems_of(files: dict[str, str]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return problems(root)


class Planted(unittest.TestCase):
    def expect(self, path: str, content: str, part: str):
        found = problems_of({**CLEAN, path: content})
        self.assertTrue(any(path in problem and part in problem for problem in found), f"expected {part!r} in {path}, found {found}")

    def test_a_clean_tree_has_no_problem(self):
        self.assertEqual(problems_of(CLEAN), [])

    def test_include_upwards(self):
        self.expect("src/base/log.h", '/// Lines.\n#pragma once\n#include "os/file.h"\n', ":3: \"os/file.h\" points upwards")

    def test_include_sideways(self):
        self.expect("src/os/file.cc", '#include "os/file.h"\n#include "manifest/dtype.h"\n', ":2: \"manifest/dtype.h\" points sideways")

    def test_include_of_an_undeclared_dependency(self):
        self.expect("src/plan/plan.h", '/// Plans.\n#pragma once\n#include "os/file.h"\n', "no declared dependency")

    def test_installed_header_may_not_include_the_inside(self):
        self.expect("include/ckpt/status.h", '/// Outcome.\n#pragma once\n#include "base/log.h"\n', "points upwards")

    def test_include_in_angle_brackets_is_no_way_around(self):
        self.expect("src/base/log.h", "/// Lines.\n#pragma once\n#include <os/file.h>\n", "points upwards")

    def test_include_with_dots(self):
        self.expect("src/os/file.cc", '#include "os/file.h"\n#include "../manifest/dtype.h"\n', "write the path from src/")

    def test_dependency_upwards(self):
        self.expect("src/base/CMakeLists.txt", "ckpt_library(NAME base LAYER 0 DEPS os)", "may not use os")

    def test_dependency_sideways(self):
        self.expect("src/os/CMakeLists.txt", "ckpt_library(NAME os LAYER 1 DEPS base manifest)", "may not use manifest")

    def test_dependency_that_the_table_does_not_allow(self):
        self.expect("src/manifest/CMakeLists.txt", "ckpt_library(NAME manifest LAYER 2 DEPS base os)", "does not allow")

    def test_layer_that_differs_from_the_table(self):
        self.expect("src/plan/CMakeLists.txt", "ckpt_library(NAME plan LAYER 3 DEPS base)", "documented as layer 2")

    def test_library_that_the_table_lacks(self):
        self.expect("src/device/CMakeLists.txt", "ckpt_library(NAME device LAYER 2 DEPS base)", "missing in the table")

    def test_folder_that_is_no_library(self):
        self.expect("src/loose/x.h", "/// X.\n#pragma once\n", "is no library")

    def test_cycle(self):
        found = problems_of({**CLEAN, "src/os/a.h": '/// A.\n#pragma once\n#include "os/b.h"\n', "src/os/b.h": '/// B.\n#pragma once\n#include "os/a.h"\n'})
        self.assertTrue(any("include cycle: os/a.h -> os/b.h -> os/a.h" in problem for problem in found), found)

    def test_header_without_guard(self):
        self.expect("src/os/file.h", "/// Files.\n", "no #pragma once")

    def test_header_without_a_sentence(self):
        self.expect("src/os/file.h", "#pragma once\n", "opens with a ///")

    def test_heavy_header_in_a_header_that_many_sources_see(self):
        heavy = {"src/os/file.h": "/// Files.\n#pragma once\n#include <nlohmann/json.hpp>\n"}
        self.assertEqual(problems_of({**CLEAN, **heavy}), [])
        users = {f"src/os/user{number}.cc": '#include "os/file.h"\n' for number in range(4)}
        found = problems_of({**CLEAN, **heavy, **users})
        self.assertTrue(any("src/os/file.h:3: <nlohmann/json.hpp> is heavy, and 5 sources" in problem for problem in found), found)

    def test_source_that_does_not_include_its_header_first(self):
        self.expect("src/os/file.cc", '#include <fcntl.h>\n#include "os/file.h"\n', "stands alone")

    def test_environment_read_elsewhere(self):
        self.expect("src/os/file.cc", '#include "os/file.h"\nauto x = std::getenv("HOME");\n', "base/options.h only")

    def test_left_overs(self):
        for word in ("TODO", "FIXME", "XXX", "HACK"):
            self.expect("src/os/file.cc", f'#include "os/file.h"\n// {word}(me): later\n', "left over")

    def test_names_that_say_nothing(self):
        self.expect("src/os/file_utils.h", "/// X.\n#pragma once\n", "says nothing")
        self.expect("src/os/file.h", "/// X.\n#pragma once\nclass FileManager {\n", "says nothing")

    def test_constants_and_types_that_two_sources_of_a_library_name_alike(self):
        other = {"src/os/a.cc": "constexpr int kPieces = 4;\nstruct Part {\n"}
        self.assertEqual(problems_of({**CLEAN, **other, "src/plan/b.cc": "constexpr int kPieces = 5;\n"}), [])
        found = problems_of({**CLEAN, **other, "src/os/b.cc": "constexpr std::size_t kPieces[] = {1};\nstruct Part {\n"})
        self.assertEqual(len(found), 2, found)
        self.assertIn("src/os/b.cc:1: kPieces is also in src/os/a.cc:1", found[0])

    def test_types_that_headers_of_two_libraries_name_alike(self):
        files = {**CLEAN, "src/os/seat.h": "/// A seat.\n#pragma once\nclass Seat {\n};\n"}
        other = "/// Another.\n#pragma once\nstruct Seat final : Base {\n};\nclass Seat;\n"
        self.assertEqual(problems_of(files), [])
        self.assertEqual([problem.split(": ")[0] for problem in problems_of({**files, "src/plan/seat.h": other})], ["src/plan/seat.h:3"])

    def test_file_that_is_too_long(self):
        self.expect("src/os/file.cc", '#include "os/file.h"\n' + "int x;\n" * 400, "401 lines")


if __name__ == "__main__":
    unittest.main()
