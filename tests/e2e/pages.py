"""What a visitor does with the demo's page: components by their ids, results as samples.

Legend: T samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from speechkit.evaluate.asr import WhisperWords

PATIENCE_SECONDS = 600
"""Longest wait for anything: two busy cores share server, browser and test."""


@dataclass(frozen=True)
class Heard:
    """A result that was fetched from the page."""

    wave_T: NDArray[np.float32]
    """Mono samples."""
    rate_hz: int
    """Their rate."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.wave_T) / self.rate_hz

    @property
    def level(self) -> float:
        """Root mean square."""
        return float(np.sqrt(np.mean(np.square(self.wave_T))))

    def wer(self, text: str, whisper: WhisperWords) -> float:
        """Share of the words of `text` that are not heard."""
        return whisper(soxr.resample(self.wave_T, self.rate_hz, 16_000), text).wer


class Demo:
    """A visitor's tab."""

    def __init__(self, page: Page, address: str, shots: Path) -> None:
        self.page = page
        self._address = address
        self._shots = shots

    def open(self, tab: str = "Speak", theme: str = "light") -> None:
        """Load the page and go to a tab, by the name it shows."""
        self.page.goto(f"{self._address}/?__theme={theme}")
        # The last thing that is drawn.
        self.page.locator("#about").wait_for()
        self.page.locator("#text textarea").wait_for()
        self.open_tab(tab)

    def open_tab(self, tab: str) -> None:
        """Go to a tab of the page that is open."""
        button = self.page.get_by_role("tab", name=tab, exact=True)
        if not button.is_visible():
            # On narrow screens the tabs that do not fit hide behind a button.
            self.page.locator(".overflow-menu > button").click()
            button = self.page.locator(".overflow-dropdown button", has_text=tab)
        button.click()

    def upload(self, name: str, path: Path) -> None:
        """Give a component a file, and wait until the server has it."""
        with self.page.expect_response(lambda one: "/upload" in one.url and one.ok):
            self.page.locator(f"#{name} input[type=file]").set_input_files(path)

    def write(self, name: str, text: str) -> None:
        """Fill a text or number field."""
        self.page.locator(f"#{name} :is(textarea, input)").first.fill(text)

    def clear(self, name: str) -> None:
        """Empty an audio component, once it shows what it opens with."""
        self.page.locator(f"#{name}").get_by_label("Clear").click()

    def replace(self, name: str, path: Path) -> None:
        """Give an audio component that shows an example another file."""
        self.clear(name)
        self.upload(name, path)

    def open_settings(self, name: str) -> None:
        """Open an accordion."""
        self.page.locator(f"#{name} button").first.click()

    def top(self, name: str) -> float:
        """Where a component begins, from the top of what is seen."""
        box = self.page.locator(f"#{name}").bounding_box()
        assert box is not None, f"{name} is not shown"
        return float(box["y"])

    def start(self, name: str) -> None:
        """Start a job; returns when the last result is gone."""
        self.click(name)
        self.page.locator(".report:visible progress").first.wait_for()

    def click(self, name: str) -> None:
        """Press a button."""
        self.page.locator(f"#{name}").click()

    def heard(self, name: str) -> Heard:
        """What an audio component offers for download, once it does."""
        link = self.page.locator(f'#{name} a[href*="file="]').first
        link.wait_for(state="attached")
        answer = self.page.request.get(str(link.get_attribute("href")))
        assert answer.ok
        wave_T, rate_hz = soundfile.read(io.BytesIO(answer.body()), dtype="float32")
        return Heard(wave_T, rate_hz)

    def text(self, name: str) -> str:
        """What a component shows."""
        return str(self.page.locator(f"#{name}").inner_text())

    def told(self) -> str:
        """The sentence of the message that pops up; it must show nothing of the machine."""
        message = self.page.locator(".toast-body").first
        message.wait_for()
        text = str(message.inner_text())
        assert "Traceback" not in text
        assert str(Path.home()) not in text
        return text

    def dismiss(self) -> None:
        """Close the message that pops up, or let it go."""
        # In one step: between a look and a click it may go by itself.
        self.page.evaluate("document.querySelector('.toast-body .toast-close')?.click()")
        self.page.locator(".toast-body").first.wait_for(state="detached")

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        self.page.screenshot(path=self._shots / f"{name}.png", full_page=True)
