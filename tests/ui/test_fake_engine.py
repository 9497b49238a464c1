"""The fake has the interface of the real engine, so that tests with it mean something."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from duplex_local.backend import ModelInfo
from duplex_local.engine import Conversation, Engine
from tests.ui.fake_engine import FakeConversation, FakeInfo
from ui import tabs


def parameters(method) -> list[tuple]:
    signature = inspect.signature(method)
    return [(one.name, one.default) for one in signature.parameters.values()]


@pytest.mark.parametrize("name", [name for name in vars(tabs.Conversation) if name[0] != "_"])
def test_conversations_are_called_alike(name):
    real, fake = getattr(Conversation, name), getattr(FakeConversation, name)
    assert parameters(real) == parameters(fake)


def test_the_engine_has_what_the_page_needs():
    assert "config" in inspect.signature(Engine.open).parameters
    assert isinstance(Engine.info, property)


def test_what_the_page_reads_of_a_model_is_there():
    real = {field.name for field in dataclasses.fields(ModelInfo)}
    assert {name for name in vars(tabs.Info) if name[0] != "_"} <= real
    assert {field.name for field in dataclasses.fields(FakeInfo)} <= real
