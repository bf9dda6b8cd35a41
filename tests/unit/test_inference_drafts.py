"""Who drafts for whom: what the setting can't mean, and what speaks against what it says."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as registry_pb

from services.chassis.errors import Unavailable
from services.chassis.names import NAME
from services.chassis.tables import NAME_PATTERN
from services.inference import drafts
from services.inference.domain import Base
from services.inference.drafts import DraftModels, Pair


def known(*names: str) -> dict[str, Base]:
    """Give base models of these names; of `twin` and `tiny` the files are the same."""
    return {
        name: Base(name, name.replace("twin", "tiny"), Path("/") / name, 10, 10) for name in names
    }


def models(names: Mapping[str, str], there: Mapping[str, Base]) -> DraftModels:
    async def bases() -> Mapping[str, Base]:
        return there

    return DraftModels(names, bases)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("large", "not of the form base=draft"),
        ("large=", "not of the form base=draft"),
        ("large=small=tiny", "not of the form base=draft"),
        ("Large=small", "not of the form base=draft"),
        ("large:3=small", "not of the form base=draft"),
        ("large=small,large=tiny", "large is there twice"),
        ("large=small,tiny=tiny", "tiny can't draft for itself"),
    ],
)
def test_what_no_base_models_could_be_named_is_malformed(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        drafts.parse(text)


def test_names_are_those_that_the_contract_knows() -> None:
    field = registry_pb.CreateModelRequest.DESCRIPTOR.fields_by_name["base_model"]
    pattern = field.GetOptions().Extensions[validate_pb2.field].string.pattern
    assert pattern == NAME_PATTERN == f"^{NAME}$"


PAIRS = [
    (("large", "small"), ("large", "small"), "", False),
    (("large",), ("large", "small"), "there is no base model small", True),
    (("small",), ("large", "small"), "there is no base model large", False),
    ((), ("large", "small"), "there is no base model large and no base model small", False),
    (("tiny", "twin"), ("tiny", "twin"), "the same model", True),
]


@pytest.mark.parametrize(("there", "pair", "reason", "refused"), PAIRS)
async def test_a_pair_tells_what_speaks_against_it(
    there: tuple[str, ...], pair: tuple[str, str], reason: str, refused: bool
) -> None:
    [told] = await models(dict([pair]), known(*there)).pairs()
    assert (told.base, told.draft, told.refused) == (*pair, refused)
    assert reason in told.reason
    if reason:
        assert f"MLX_HUB_DRAFT_MODELS says that {pair[1]} drafts for {pair[0]}" in told.reason
    else:
        assert not told.reason


class Away:
    """A registry that answers from the third time on."""

    def __init__(self) -> None:
        self.asked = 0

    async def bases(self) -> Mapping[str, Base]:
        self.asked += 1
        if self.asked < 3:
            raise Unavailable("DEPENDENCY_UNAVAILABLE", "registry does not answer")
        return known("large")


async def test_a_registry_that_is_away_is_told_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drafts, "ASK_PAUSE_S", 0.001)
    away = Away()
    asked = DraftModels({"large": "small", "huge": "large"}, away.bases)
    [first, _] = await asked.pairs()
    why = "nobody could look whether both are base models: registry does not answer"
    assert first == Pair("large", "small", why)
    async with asyncio.timeout(5):
        await asked.warn()
    assert away.asked == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    for name, text in zip(("small", "huge"), caplog.messages, strict=True):
        assert f"there is no base model {name}; import it" in text


async def test_without_the_setting_nobody_is_asked() -> None:
    away = Away()
    asked = DraftModels({}, away.bases)
    assert await asked.pairs() == []
    await asked.warn()
    assert away.asked == 0
