"""Agreement of requirements.txt with the dependencies of the package."""

import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parents[1]


def test_requirements_are_the_dependencies_and_what_tests_need():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    checks = {each for each in project["optional-dependencies"]["dev"] if "==" in each}
    tests = set(project["optional-dependencies"]["dev"]) - checks
    assert listed == set(project["dependencies"]) | tests
    assert {each.partition("==")[0] for each in checks} == {"ruff", "ty"}
