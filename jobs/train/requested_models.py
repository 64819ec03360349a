"""The models that a release is to have, checked before anything is read."""

from __future__ import annotations

from schemas.errors import SettingError
from schemas.models import MODELS, RANKERS
from schemas.setting_groups import AUTO
from schemas.settings import Settings


def chosen_models(settings: Settings) -> list[str]:
    """The models to train, by name. Raises SettingError if one is unknown, or where no release could come of them."""
    names = settings.model_names()
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise SettingError(f"models: unknown {', '.join(unknown)}; expected some of {', '.join(MODELS)}")
    needed = ("popular",) if settings.serve == AUTO else ("popular", settings.serve)
    missing = [name for name in needed if name not in names]
    if not missing and not set(names) & set(RANKERS):
        missing = [f"one of {', '.join(RANKERS)}"]
    if settings.diversity + settings.calibration > 1:
        raise SettingError(
            f"diversity and calibration: expected 1 together at most, got {settings.diversity:g} and {settings.calibration:g}"
        )
    if settings.diversity and "content" not in names:
        missing.append("content, for diversity,")
    if missing:
        raise SettingError(f"models: {', '.join(missing)} must be among them: a model ranks the lists, and they fall back to popular")
    return names
