"""A suite with one of everything that a runner can get wrong, written into a folder."""

from __future__ import annotations

import textwrap
from pathlib import Path

FILES = {
    "pytest.ini": """
        [pytest]
        addopts = -ra --doctest-modules --maxfail=2 -p no:randomly
        markers =
            slow
        filterwarnings = error
        python_files = test_*.py check_*.py
    """,
    "conftest.py": """
        import pytest

        class TextFile(pytest.File):
            def collect(self):
                for number, line in enumerate(self.path.read_text().splitlines()):
                    yield TextItem.from_parent(self, name="line", line=line)

        class TextItem(pytest.Item):
            def __init__(self, *, line, **kw):
                super().__init__(**kw)
                self.line = line

            def runtest(self):
                assert self.line != "bad"

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".lines":
                return TextFile.from_parent(parent, path=file_path)

        def pytest_collection_modifyitems(items):
            first = items[0]
            items.sort(key=lambda item: "zz_last" in item.name)

        @pytest.fixture(scope="session")
        def log(tmp_path_factory):
            lines = []
            yield lines
            assert lines[-1] == "package down", lines

        @pytest.fixture(scope="session", params=["one", "two"])
        def flavour(request):
            return request.param
    """,
    "values.lines": "good\nbad\ngood\n",
    "pkg/__init__.py": "",
    "pkg/code.py": '''
        def double(x):
            """
            >>> double(2)
            4
            >>> double(3)
            7
            """
            return 2 * x

        def half(x):
            """
            >>> half(4)
            2.0
            """
            return x / 2
    ''',
    "pkg/conftest.py": """
        import pytest

        @pytest.fixture(scope="package", autouse=True)
        def package(log):
            log.append("package up")
            yield
            log.append("package down")
    """,
    "pkg/test_one.py": """
        import pytest

        @pytest.fixture(scope="module")
        def module(log):
            log.append("one up")
            yield
            assert log.count("one up") == 1
            log.append("one down")

        def test_zz_last(): pass
        def test_first(module): pass
        def test_package_is_up_once(log): assert log.count("package up") == 1

        class TestGroup:
            @pytest.fixture(scope="class")
            def thing(self): return []
            def test_a(self, thing): thing.append(1)
            def test_b(self, thing): assert thing == [1]
    """,
    "pkg/test_two.py": """
        def test_flavour(flavour): assert flavour in ("one", "two")
        def test_other(flavour): assert flavour == "one"
        def test_log(log): assert "package up" in log
    """,
    "test_outcomes.py": """
        import warnings
        import pytest

        def test_pass(): print("said something")
        def test_fail(): assert 1 == 2
        def test_skip(): pytest.skip("not now")
        @pytest.mark.skipif(True, reason="never")
        def test_skipif(): pass
        @pytest.mark.xfail
        def test_xfail(): assert 0
        @pytest.mark.xfail
        def test_xpass(): pass
        @pytest.mark.xfail(strict=True)
        def test_xpass_strict(): pass
        @pytest.mark.xfail(raises=ValueError)
        def test_xfail_other(): raise KeyError
        def test_xfail_inside(): pytest.xfail("known")

        @pytest.fixture
        def broken_setup(): raise RuntimeError("setup")
        @pytest.fixture
        def broken_teardown():
            yield
            raise RuntimeError("teardown")
        @pytest.fixture
        def skipping(): pytest.skip("from a fixture")
        @pytest.fixture
        def xfailing(): pytest.xfail("from a fixture")

        def test_setup_error(broken_setup): pass
        def test_teardown_error(broken_teardown): pass
        def test_both(broken_teardown): assert 0
        def test_skip_teardown(broken_teardown): pytest.skip("x")
        def test_skip_fixture(skipping): pass
        def test_xfail_fixture(xfailing): pass
        def test_warning(): warnings.warn("is an error here")
        def test_surrogate(): assert "\\udc80" == "\\ud800"
        @pytest.mark.parametrize("x", ["a", "a", "b"], ids=["same", "same", "[odd::id] é"])
        def test_ids(x): assert x == "a"
        @pytest.mark.parametrize("x", [])
        def test_empty(x): pass
        @pytest.mark.nonexistent_but_fine if False else (lambda f: f)
        def test_plain(): pass
    """,
    "test_subtests.py": """
        import unittest

        def test_sub_good(subtests):
            for i in range(3):
                with subtests.test(msg="even", i=i):
                    assert i < 3
        def test_sub_bad(subtests):
            for i in range(3):
                with subtests.test(i=i):
                    assert i % 2 == 0
        class Unit(unittest.TestCase):
            def test_subs(self):
                for i in range(3):
                    with self.subTest(i=i):
                        self.assertNotEqual(i, 1)
            def test_subs_good(self):
                with self.subTest("x"):
                    pass
    """,
    "test_unit.py": """
        import unittest

        def setUpModule():
            global ready
            ready = True

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls): cls.n = 1
            def test_ok(self): assert ready and self.n == 1
            def test_no(self): self.fail("no")
            @unittest.skip("skipped")
            def test_skip(self): pass
            @unittest.expectedFailure
            def test_expected(self): self.fail()
            @unittest.expectedFailure
            def test_unexpected(self): pass

        class Broken(unittest.TestCase):
            @classmethod
            def setUpClass(cls): raise RuntimeError("class")
            def test_one(self): pass
            def test_two(self): pass

        class Async(unittest.IsolatedAsyncioTestCase):
            async def test_async(self): assert True

        @unittest.skip("whole class")
        class Skipped(unittest.TestCase):
            def test_x(self): pass
    """,
    "test_duplicates.py": """
        import unittest

        def make():
            class Case(unittest.TestCase):
                def test_same(self): pass
            return Case
        def test_again(): pass
        class TestA:
            def test_again(self): pass
    """,
    "test_import_error.py": "import module_that_is_not_there\ndef test_x(): pass\n",
    "test_syntax_error.py": "def test_x(:\n",
    "test_import_warning.py": "import warnings\nwarnings.warn('at import')\ndef test_x(): pass\n",
    "test_skip_module.py": "import pytest\npytest.skip('all of it', allow_module_level=True)\n",
    "test_importorskip.py": "import pytest\npytest.importorskip('not_there')\ndef test_x(): pass\n",
    "check_empty.py": "X = 1\n",
    "broken_folder/conftest.py": "raise RuntimeError('conftest of a folder')\n",
    "broken_folder/test_in_broken.py": "def test_x(): pass\n",
    "test_chdir.py": """
        import os
        import pytest
        def test_leave(tmp_path): os.chdir(tmp_path)
    """,
    "test_chdir_after.py": """
        import os
        HERE = os.path.exists("pytest.ini")
        def test_imported_in_root(): assert HERE
        def test_xdist_names(): assert "PYTEST_XDIST_WORKER" not in os.environ
        def test_main():
            import sys
            assert sys.argv[0].endswith("__main__.py")
            assert sys.modules["__main__"].__spec__.name == "pytest.__main__"
            assert os.path.dirname(os.path.abspath(__file__)) in sys.path
            assert "TESTRING_CHANNEL" not in os.environ
    """,
    "test_fork.py": """
        import multiprocessing
        import os

        def test_spawn():
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=print)
            process.start()
            process.join()
            assert process.exitcode == 0

        def test_small_descriptors_closed():
            for number in range(10, 200):
                try:
                    os.close(number)
                except OSError:
                    pass
    """,
    "test_many.py": """
        import pytest
        @pytest.mark.parametrize("x", range(300))
        def test_x(x): assert x != 77
    """,
}


def write(folder: Path, files: dict[str, str] = FILES) -> Path:
    """Write the suite (or any other files) under ``folder``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder
