"""Hands the oracle to the tests beside it; importlib mode leaves this folder off the path."""

import importlib.util
import pathlib
import types

import pytest


@pytest.fixture(scope="session")
def oracle() -> types.ModuleType:
    path = pathlib.Path(__file__).with_name("oracle.py")
    spec = importlib.util.spec_from_file_location("oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
