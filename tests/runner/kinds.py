"""Suites of kinds that are easily run otherwise than plain pytest runs them: name -> (files, arguments)."""

from __future__ import annotations

KINDS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "one name in two folders": (
        {
            "a/test_same.py": "def test_a(): pass\n",
            "b/test_same.py": "def test_b(): pass\n",
            "c/__init__.py": "",
            "c/test_same.py": "def test_c(): pass\n",
        },
        (),
    ),
    "conftests of folders": (
        {
            "conftest.py": "import pytest\n@pytest.fixture\ndef where(): return 'top'\n",
            "a/conftest.py": "import pytest\n@pytest.fixture\ndef where(where): return where + '/a'\n",
            "a/b/conftest.py": "import pytest\n@pytest.fixture(autouse=True)\n"
            "def mark(request): request.node.b = 1\n",
            "a/test_a.py": "def test(where, request):\n"
            "    assert where == 'top/a' and not hasattr(request.node, 'b')\n",
            "a/b/test_ab.py": "def test(where, request): assert where == 'top/a' and request.node.b\n",
            "test_top.py": "def test(where): assert where == 'top'\n",
        },
        (),
    ),
    "a plugin of the project in addopts": (
        {
            "pytest.ini": "[pytest]\naddopts = -p helpers.plug --colour=red\n",
            "helpers/__init__.py": "",
            "helpers/plug.py": """
                import pytest
                def pytest_addoption(parser): parser.addoption("--colour")
                @pytest.fixture
                def colour(request): return request.config.getoption("colour")
            """,
            "test_a.py": "def test(colour): assert colour == 'red'\n",
            "test_b.py": "def test(colour): assert colour == 'blue'\n",
        },
        (),
    ),
    "pytester": (
        {
            "conftest.py": "pytest_plugins = 'pytester'\n",
            "test_in.py": """
                import sys
                def test_inline(pytester):
                    pytester.makepyfile("def test_x(): pass\\ndef test_y(): assert 0")
                    pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)
                    assert "_testring_session" not in pytester.runpytest("-p", "no:x").stdout.str()
                def test_child(pytester):
                    pytester.makepyfile("def test_x(): pass")
                    pytester.runpytest_subprocess().assert_outcomes(passed=1)
                def test_items(pytester):
                    assert pytester.getitems("def test_x(): pass")
            """,
            "test_out.py": "import os\ndef test(): assert os.path.exists('conftest.py')\n",
        },
        (),
    ),
    "text files with doctests": (
        {
            "conftest.py": "import pytest\n@pytest.fixture(autouse=True)\n"
            "def space(doctest_namespace): doctest_namespace['n'] = 3\n",
            "pytest.ini": "[pytest]\naddopts = --doctest-glob=*.rst --doctest-modules\n"
            "doctest_optionflags = ELLIPSIS\n",
            "docs/good.rst": ">>> n + 1\n4\n>>> list(range(100))\n[0, ..., 99]\n",
            "docs/bad.rst": ">>> n\n4\n",
            "docs/none.rst": "nothing here\n",
            "pkg/__init__.py": '"""\n>>> 1\n1\n"""\n',
            "pkg/mod.py": 'def f():\n    """\n    >>> f()\n    2\n    """\n    return 2\n',
            "pkg/test_both.py": 'def test_it():\n    """\n    >>> 1\n    2\n    """\n',
        },
        (),
    ),
    "unittest alone": (
        {
            "tests/__init__.py": "",
            "tests/test_u.py": """
                import unittest
                def setUpModule(): globals()["ready"] = 1
                def tearDownModule(): globals().pop("ready")
                class Base:
                    def test_shared(self): self.assertTrue(ready and self.value)
                class One(Base, unittest.TestCase):
                    value = 1
                    @classmethod
                    def setUpClass(cls): cls.made = []
                    @unittest.expectedFailure
                    def test_xfail(self): self.fail()
                    @unittest.expectedFailure
                    def test_xpass(self): pass
                    @unittest.skip("no")
                    def test_skip(self): pass
                class Two(Base, unittest.TestCase):
                    value = 0
                class Async(unittest.IsolatedAsyncioTestCase):
                    async def test_async(self): self.assertEqual(await self.one(), 1)
                    async def one(self): return 1
                class Broken(unittest.TestCase):
                    @classmethod
                    def setUpClass(cls): raise RuntimeError
                    def test_a(self): pass
                    def test_b(self): pass
                def load_tests(loader, tests, pattern): return unittest.TestSuite()
            """,
            "tests/test_v.py": "import unittest\ndef setUpModule(): raise unittest.SkipTest('no')\n"
            "class T(unittest.TestCase):\n    def test(self): pass\n",
        },
        (),
    ),
    "fixtures of the session with parameters": (
        {
            "conftest.py": """
                import pytest
                live = []
                @pytest.fixture(scope="session", params=["x", "y"])
                def server(request):
                    live.append(request.param)
                    yield request.param
                    live.remove(request.param)
                @pytest.fixture(scope="package")
                def shared(): return []
            """,
            "p/__init__.py": "",
            "p/test_a.py": "def test_a(server, shared): assert server in 'xy'\ndef test_n(): pass\n",
            "p/test_b.py": "from conftest import live\ndef test_b(server, shared): assert live == [server]\n",
            "test_c.py": "def test_c(server): assert server == 'x'\n",
        },
        (),
    ),
    "a port of its own for the session": (
        {
            "conftest.py": """
                import pytest, socket, threading
                @pytest.fixture(scope="session", autouse=True)
                def server():
                    listener = socket.create_server(("127.0.0.1", 0))
                    def serve():
                        while True:
                            try:
                                far, _ = listener.accept()
                            except OSError:
                                return
                            far.sendall(b"hello"); far.close()
                    thread = threading.Thread(target=serve); thread.start()
                    yield listener.getsockname()
                    listener.shutdown(socket.SHUT_RDWR); listener.close(); thread.join()
            """,
            "test_a.py": "import socket\ndef test(server): assert socket.create_connection(server).recv(9)\n",
            "test_b.py": "import socket\ndef test(server): assert socket.create_connection(server).recv(9)\n",
        },
        (),
    ),
    "a configuration in a folder": (
        {
            "pytest.ini": "[pytest]\npython_functions = check_*\n",
            "sub/pytest.ini": "[pytest]\npython_functions = test_*\n",
            "sub/conftest.py": "",
            "sub/test_a.py": "def test_a(): pass\ndef check_a(): pass\n",
            "test_b.py": "def test_b(): pass\ndef check_b(): pass\n",
        },
        (),
    ),
    "that configuration, given its folder": (
        {
            "pytest.ini": "[pytest]\npython_functions = check_*\n",
            "sub/pytest.ini": "[pytest]\npython_functions = test_*\n",
            "sub/test_a.py": "def test_a(): pass\ndef check_a(): pass\n",
        },
        ("sub",),
    ),
    "modules by package name": (
        {
            "pkg/__init__.py": "",
            "pkg/tests/__init__.py": "",
            "pkg/tests/test_a.py": "def test_a(): pass\n",
            "pkg/tests/test_b.py": "def test_b(): assert 0\n",
        },
        ("--pyargs", "pkg.tests"),
    ),
    "importlib as import mode": (
        {
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n",
            "src/ns/part/mod.py": "VALUE = 1\n",
            "a/test_same.py": "import sys\ndef test_a(): assert 'test_same' not in sys.modules\n",
            "b/test_same.py": "def test_b(): assert __name__ == 'b.test_same'\n",
        },
        (),
    ),
    "tests in __init__": (
        {
            "pytest.ini": "[pytest]\npython_files = *.py\n",
            "pkg/__init__.py": "def test_init(): pass\n",
            "pkg/one.py": "def test_one(): pass\n",
            "pkg/sub/__init__.py": "def test_sub(): assert 0\n",
        },
        (),
    ),
    "globs in testpaths": (
        {
            "pytest.ini": "[pytest]\ntestpaths = parts/*/tests extra\n",
            "parts/a/tests/test_pa.py": "def test(): pass\n",
            "parts/b/tests/test_pb.py": "def test(): pass\n",
            "parts/b/other/test_no.py": "def test(): assert 0\n",
            "extra/test_e.py": "def test(): pass\n",
            "test_top.py": "def test(): assert 0\n",
        },
        (),
    ),
    "strange ids": (
        {
            "test_a.py": """
                import pytest
                ODD = ["", " ", "a b", "[x]", "::", "a::b", "/", "ä", "\\u4e00", "\\n", "\\x00"]
                ODD += ["\\ud800", "'"]
                @pytest.mark.parametrize("text", ODD + [b"\\xff", 1.5, None, True, object, 10**30])
                def test_values(text): pass
                @pytest.mark.parametrize("n", [1, 2, 3], ids=["same", "same", "a::b"])
                def test_ids(n): assert n != 2
                @pytest.mark.parametrize("n", [])
                def test_nothing(n): pass
                class TestÜber:
                    def test_ü(self): pass
            """,
            "ordner ä/test_ß.py": "def test(): pass\n",
            "sp ace/test_x y.py": "def test(): pass\n",
            "pytest.ini": "[pytest]\n"
            "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = True\n",
        },
        (),
    ),
    "collection is ignored here and there": (
        {
            "conftest.py": "collect_ignore = ['no']\ncollect_ignore_glob = ['*_skipme.py']\n",
            "pytest.ini": "[pytest]\nnorecursedirs = never .*\naddopts = --ignore-glob=**/gone*\n",
            "no/test_a.py": "def test(): assert 0\n",
            "never/test_b.py": "def test(): assert 0\n",
            "gone/test_c.py": "def test(): assert 0\n",
            "test_d_skipme.py": "def test(): assert 0\n",
            "test_e.py": "def test(): pass\n",
            "venv/pyvenv.cfg": "",
            "venv/bin/activate": "",
            "venv/test_f.py": "def test(): assert 0\n",
        },
        (),
    ),
    "a hook that fails while it reports": (
        {
            "conftest.py": """
                import pytest
                @pytest.hookimpl(hookwrapper=True)
                def pytest_runtest_makereport(item, call):
                    outcome = yield
                    report = outcome.get_result()
                    if "flip" in item.name and report.when == "call":
                        report.outcome = "failed"; report.longrepr = "flipped"
                    if "hide" in item.name and report.when == "call":
                        report.outcome = "skipped"; report.longrepr = (__file__, 1, "Skipped: hidden")
            """,
            "test_a.py": "def test_flip(): pass\ndef test_hide(): assert 0\ndef test_plain(): pass\n",
            "test_b.py": "def test_flip(): pass\n",
        },
        (),
    ),
    "warnings are errors": (
        {
            "pytest.ini": "[pytest]\nfilterwarnings =\n    error\n    ignore:fine\n",
            "test_a.py": "import warnings\ndef test_bad(): warnings.warn('bad')\n"
            "def test_fine(): warnings.warn('fine')\n",
            "test_b.py": "import warnings\nwarnings.warn('at import')\ndef test(): pass\n",
            "test_c.py": "import threading\ndef test_thread():\n"
            "    t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()\n",
        },
        (),
    ),
    "modules that leave for other folders": (
        {
            "test_a.py": "import os, tempfile\ndef test(): os.chdir(tempfile.mkdtemp())\n",
            "test_b.py": "import os\ndef test(): assert os.path.exists('test_b.py')\n",
            "test_c.py": "import sys\nsys.path.insert(0, 'lib')\nimport helper\n"
            "def test(): assert helper.X\n",
            "lib/helper.py": "X = 1\n",
        },
        (),
    ),
}
