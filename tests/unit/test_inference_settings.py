"""What of serving an operator may set, and what is refused by its name."""

import pytest

from services.chassis.settings import load
from services.inference.settings import InferenceSettings


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("MLX_HUB_KV_BITS", "3", "must be 4 or 8, or 0"),
        ("MLX_HUB_MAX_KV_SIZE", "16385", "MLX_HUB_MAX_KV_SIZE must not be more than"),
        ("MLX_HUB_DRAFT_MODELS", "large", "not of the form base=draft"),
        ("MLX_HUB_DRAFT_MODELS", "large=small,large=tiny", "large is there twice"),
        ("MLX_HUB_PREFIX_CACHE_BYTES", "-1", "MLX_HUB_PREFIX_CACHE_BYTES"),
    ],
)
def test_what_can_not_be_honoured_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    why: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(InferenceSettings)
    told = capsys.readouterr().err
    assert name in told
    assert why in told


def test_a_window_and_quantised_keys_are_refused_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLX_HUB_KV_BITS", "8")
    assert load(InferenceSettings).kv_bits == 8
    monkeypatch.setenv("MLX_HUB_MAX_KV_SIZE", "1024")
    with pytest.raises(SystemExit):
        load(InferenceSettings)
    assert "MLX_HUB_KV_BITS and MLX_HUB_MAX_KV_SIZE" in capsys.readouterr().err


def test_draft_models_are_named_beside_what_they_draft_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(InferenceSettings).draft_models == {}
    monkeypatch.setenv("MLX_HUB_DRAFT_MODELS", "large=small, huge = small,")
    assert load(InferenceSettings).draft_models == {"large": "small", "huge": "small"}


def test_files_of_the_prefix_cache_lie_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_HOME", "/somewhere")
    assert str(load(InferenceSettings).prefix_cache_folder) == "/somewhere/prefix-cache"
