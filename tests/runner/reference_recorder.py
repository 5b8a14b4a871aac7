"""pytest plugin of the reference run: what plain pytest itself says of every report.

Written apart from the project's own verdict rule: it keeps the category that pytest's terminal
counts a report under, and ``outcomes`` folds those.
"""

import json
import os


class Recorder:
    def __init__(self, config):
        self.config = config
        self.lines = []

    def pytest_runtest_logreport(self, report):
        status = self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        self.lines.append((report.nodeid, report.when, status[0]))

    def pytest_collectreport(self, report):
        if not report.passed:
            self.lines.append((report.nodeid, "collect", "error" if report.failed else "skipped"))

    def pytest_sessionfinish(self):
        with open(os.environ["REFERENCE_OUT"], "w") as stream:
            json.dump(self.lines, stream)


def pytest_configure(config):
    if os.environ.get("REFERENCE_OUT"):
        config.pluginmanager.register(Recorder(config), "reference-recorder")


def outcomes(lines):
    """{(node id, occurrence): outcome} from the recorded lines."""
    found = {}
    count = {}
    key = None
    for nodeid, when, category in lines:
        # A test that is tried again starts anew after ``rerun``, or (flaky) after saying nothing.
        again = key is not None and key[0] == nodeid and (found[key] == ["rerun"] or not any(found[key]))
        if when == "collect" or (when == "setup" and not again):
            number = count[nodeid] = count.get(nodeid, -1) + 1
            key = (nodeid, number)
            found[key] = []
        elif when == "setup" or found[key] == ["rerun"]:
            found[key] = []
        found[key] = ["rerun"] if category == "rerun" else [*found[key], category]
    return {key: _fold(categories) for key, categories in found.items()}


def _fold(categories):
    for outcome in ("failed", "error", "xfailed", "xpassed", "skipped", "passed"):
        wanted = {outcome, "subtests failed" if outcome == "failed" else outcome}
        if wanted & set(categories):
            return outcome
    return "notrun"
