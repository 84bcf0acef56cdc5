"""Fonts: those that have the letters of a text, where any is installed."""

import matplotlib.font_manager
import pytest

from ssr_plugin.metrics import fonts
from ssr_plugin.metrics.fonts import MONO, font_families, text_width


@pytest.fixture
def installed(monkeypatch):
    """``installed(paths)``: as if those fonts alone were installed."""

    def install(paths):
        monkeypatch.setattr(
            matplotlib.font_manager, "findSystemFonts", lambda: list(paths)
        )
        fonts._fallbacks.cache_clear()
        fonts._warn.cache_clear()

    yield install
    fonts._fallbacks.cache_clear()


def shipped(name):
    """A font that comes with matplotlib."""
    return matplotlib.font_manager.findfont(name)


def test_letters_that_the_first_font_lacks_come_from_another(installed):
    # Hebrew is in DejaVu Sans, and not in its monospaced kin.
    installed([shipped("STIXGeneral"), shipped("DejaVu Sans")])
    assert font_families("\u05e9\u05dc\u05d5\u05dd") == [MONO, "DejaVu Sans"]
    assert font_families("Straße мир", "a") == [MONO]


def test_what_no_font_has_is_warned_of_once(installed, caplog):
    installed([shipped("STIXGeneral")])
    for _ in range(2):
        assert font_families("\u05e9 你") == [MONO]
    (message,) = caplog.messages
    assert "'\u05e9你'" in message and "fonts-noto" in message


def test_a_file_that_is_no_font_is_passed_over(installed, tmp_path):
    broken = tmp_path / "a.ttf"
    broken.write_bytes(b"no font")
    installed([str(broken), shipped("DejaVu Sans")])
    assert font_families("\u05e9") == [MONO, "DejaVu Sans"]


def test_marks_take_no_room_and_wide_letters_take_two():
    assert text_width("สว\u0e31") == 2
    assert text_width("a你(1/2)") == 8
