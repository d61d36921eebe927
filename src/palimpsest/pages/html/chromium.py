"""HTML drawn by Chromium, for comparison with what the papers' browser pages look like.

The browser is the one you name; none is searched for. Scripts are off, every request is refused,
every document gets a fresh context. Fonts are the machine's, so pixels differ between machines: for
anything but comparison, the default engine is quicker and repeatable.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.pages.html.engine import Canvas, Size

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, CDPSession, Playwright, Route

Result = TypeVar("Result")

VARIABLE = "PALIMPSEST_CHROMIUM"
"""Environment variable with the path of the browser."""

_FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-lcd-text",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
_START_S = 60.0
"""Enough for a browser to start on a busy machine."""
_GRACE_S = 5.0
"""For a context or browser to close before it is given up."""


class ChromiumEngine:
    """Draws with the Chromium at `executable`, or at the path in `PALIMPSEST_CHROMIUM`.

    At most `pages` documents are open at a time; further callers wait. `deadline_s` holds for all
    that is done with one document. `sandbox` is Chromium's own, which does not work for root: by
    default it is on unless the user is root. Without it, the cleaned HTML is all that stands
    between a draft and your account: run in a container. A browser that died is started again for
    the next document.

    Raises `ConfigurationError` when no browser is named or the `browser` extra is not installed.
    """

    def __init__(
        self,
        executable: Path | None = None,
        *,
        pages: int = 2,
        deadline_s: float = 10.0,
        sandbox: bool | None = None,
    ) -> None:
        self._executable = executable or _configured()
        self._deadline_s = deadline_s
        self._sandbox = not _is_root() if sandbox is None else sandbox
        self._slots = threading.BoundedSemaphore(pages)
        self._starting = threading.Lock()
        self._running: _Browser | None = None

    @contextmanager
    def open(self, html: str) -> Iterator[Canvas]:
        with self._slots:
            browser = self._ready()
            until = time.monotonic() + self._deadline_s
            with _failures(self._deadline_s):
                context, session = browser.run(browser.opened(html), until)
            try:
                yield _ChromiumCanvas(browser, session, until, self._deadline_s)
            finally:
                # A context that does not close takes its browser with it.
                try:
                    browser.run(context.close(), time.monotonic() + _GRACE_S)
                except Exception:
                    browser.close()

    def close(self) -> None:
        """Ends the browser; the next page starts another."""
        browser, self._running = self._running, None
        atexit.unregister(self.close)
        if browser:
            browser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> _Browser:
        with self._starting:
            if self._running and self._running.usable:
                return self._running
            self.close()
            self._running = _Browser(self._executable, self._sandbox)
            atexit.register(self.close)
            return self._running


class _ChromiumCanvas:
    def __init__(
        self, browser: _Browser, session: CDPSession, until: float, deadline_s: float
    ) -> None:
        self._browser = browser
        self._session = session
        self._until = until
        self._deadline_s = deadline_s

    def measure(self, width: int, scale: float) -> Size:
        # The content counts as no lower than the window.
        self._resize(width, 1, scale)
        content = self._send("Page.getLayoutMetrics")["cssContentSize"]
        return Size(content["width"], content["height"])

    def draw(self, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        self._resize(width, height, scale)
        shot = self._send("Page.captureScreenshot", format="png", optimizeForSpeed=True)
        image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(paper, image).convert("RGB"))

    def _resize(self, width: int, height: int, scale: float) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def _send(self, method: str, **parameters: object) -> dict[str, Any]:
        with _failures(self._deadline_s):
            return self._browser.run(self._session.send(method, parameters), self._until)


class _Browser:
    """A running browser, driven by an event loop in a thread of its own."""

    def __init__(self, executable: Path, sandbox: bool) -> None:
        self._owner = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._driver: Playwright | None = None
        self._browser: Browser | None = None
        try:
            self.run(self._launch(executable, sandbox), time.monotonic() + _START_S)
        except ModuleNotFoundError as error:
            self.close()
            raise ConfigurationError(
                "drawing HTML with Chromium needs playwright",
                hint="pip install 'palimpsest-memory[browser]'",
            ) from error
        except Exception as error:
            self.close()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigurationError(
                f"the browser {executable} does not start: {reason}",
                hint="name a Chromium that runs without a display",
            ) from error

    @property
    def usable(self) -> bool:
        """Whether it is this process's own and alive."""
        mine = self._owner == os.getpid()
        return mine and self._browser is not None and self._browser.is_connected()

    def run(self, work: Coroutine[Any, Any, Result], until: float) -> Result:
        """Waits for work in the browser's thread. Raises `TimeoutError` when it is late."""
        limited = asyncio.wait_for(work, max(until - time.monotonic(), 0.001))
        return asyncio.run_coroutine_threadsafe(limited, self._loop).result()

    async def opened(self, html: str) -> tuple[BrowserContext, CDPSession]:
        """A fresh context with the document, and the line to its page."""
        assert self._browser
        context = await self._browser.new_context(
            java_script_enabled=False, offline=True, service_workers="block", accept_downloads=False
        )
        try:
            await context.route("**/*", _refuse)
            page = await context.new_page()
            session = await context.new_cdp_session(page)
            await page.set_content(html)
        except BaseException:
            await context.close()
            raise
        return context, session

    def close(self) -> None:
        """Ends the browser and the thread."""
        # The copy of a fork has no such thread.
        if self._owner != os.getpid() or not self._thread.is_alive():
            return
        with contextlib.suppress(Exception):
            self.run(self._end(), time.monotonic() + _GRACE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _launch(self, executable: Path, sandbox: bool) -> None:
        from playwright.async_api import async_playwright

        self._driver = await async_playwright().start()
        self._browser = await self._driver.chromium.launch(
            executable_path=executable, args=_FLAGS, chromium_sandbox=sandbox
        )

    async def _end(self) -> None:
        if self._browser:
            await self._browser.close()
        if self._driver:
            await self._driver.stop()


async def _refuse(route: Route) -> None:
    await route.abort()


@contextmanager
def _failures(deadline_s: float) -> Iterator[None]:
    """Turns what the browser raises into errors of this package."""
    from playwright.async_api import Error

    try:
        yield
    except TimeoutError as error:
        raise InputError(
            f"the HTML draft could not be drawn: it took longer than {deadline_s:g} s",
            hint="shorten or flatten it, or give the engine a longer deadline",
        ) from error
    except Error as error:
        raise InputError(
            f"the HTML draft could not be drawn: {error.message.splitlines()[0]}",
            hint="shorten or flatten it",
        ) from error


def _configured() -> Path:
    path = os.environ.get(VARIABLE)
    if not path:
        raise ConfigurationError(
            "no browser is named", hint=f"set {VARIABLE} to the path of a Chromium"
        )
    return Path(path)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0
