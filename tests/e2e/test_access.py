"""The page without eyes or without a mouse: names of its controls, language, title, order of tabs.

Contrast is in `test_tabs`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.pages import Demo
from tests.e2e.test_tabs import TABS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STUMBLES = Path(__file__).with_name("access.js").read_text(encoding="utf-8")
"""Controls without names, pictures without alternatives, and so on."""
FOCUSED = """() => {
  const focused = document.activeElement;
  const box = focused.getBoundingClientRect();
  const ids = [];
  for (let node = focused; node; node = node.parentElement) if (node.id) ids.push(node.id);
  return { ids, width: box.width, height: box.height };
}"""
"""The ids around what has the focus, from the inside out, and its size."""


@pytest.mark.parametrize("tab", TABS)
def test_every_control_has_a_name(demo: Demo, tab: str) -> None:
    demo.open(tab)
    if tab != "Speak":
        # With its settings open, as people find them.
        for button in demo.page.locator(".tabitem:visible .label-wrap:visible").all():
            if "open" not in (button.get_attribute("class") or ""):
                button.click()
    assert demo.page.evaluate(STUMBLES) == []


def test_the_keyboard_goes_from_the_text_to_the_button(demo: Demo) -> None:
    demo.open("Speak")
    order = ["text", "prompt", "settings", "go", "cancel"]
    demo.page.locator("#text textarea").focus()
    met: list[str] = []
    for _ in range(80):
        focused = demo.page.evaluate(FOCUSED)
        assert focused["width"] > 0, f"an unseen {focused['ids']} has the focus"
        assert focused["height"] > 0, f"an unseen {focused['ids']} has the focus"
        met += [name for name in order if name in focused["ids"] and name not in met]
        if met == order:
            break
        demo.page.keyboard.press("Tab")
    assert met == order


def test_enter_starts_a_job_from_the_keyboard_alone(demo: Demo) -> None:
    demo.open("Speak")
    demo.heard("speech")
    demo.write("text", "Hello there.")
    demo.page.locator("#text textarea").press("Control+Enter")
    demo.page.locator(".report:visible progress").first.wait_for()
    assert 0.3 < demo.heard("speech").seconds < 4
