"""The page as a person uses it, in Debian's headless Chromium: it clicks, types and reads."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tracer
from tests.fakes import tracefakes
from tests.fakes.smallboot import IMAGES, SPEC, SUMMARY, exits_of_a_boot
from tracer.analysis.regression import compare
from tracer.html.campaign import render as render_campaign
from tracer.html.data import gather
from tracer.html.page import render
from tracer.read.campaign import load as load_campaign

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1><b>"
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The addresses of two pages: of a small boot, and of one whose guest is hostile."""
    directory = tmp_path_factory.mktemp("pages")

    def write(name, records, **metadata):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tracefakes, "METADATA", tracefakes.METADATA | metadata)
            patch.setattr(tracefakes, "DEVICES", ["serial0", "debug-port0", "rtc0", EVIL])
            tracefakes.record_all(directory / f"{name}.arrow", records(), summary=SUMMARY)
        trace = tracer.load(directory / f"{name}.arrow")
        page = directory / f"{name}.html"
        page.write_text(render(trace, gather(trace)), encoding="utf-8")
        return page.as_uri()

    def hostile():
        printed = [tracefakes.exit_(1000 * at, data=bytes([byte])) for at, byte in enumerate(EVIL.encode())]
        return [[*printed, tracefakes.exit_(1_000_000, device=EVIL)]]

    return {
        "boot": write("boot", exits_of_a_boot, **{"vmrun.spec": SPEC, "vmrun.images": json.dumps(IMAGES)}),
        "hostile": write("hostile", hostile, **{"vmrun.host": json.dumps({"processor": EVIL})}),
    }


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A running browser with a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Page:
    """A loaded page: what a person sees and does."""

    def __init__(self, driver, address, size=DESKTOP, scheme="light", drawn="#chart .heatmaplayer image"):
        self.driver = driver
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.prefer(scheme)
        driver.get(address)
        assert self.errors == []  # the script has run by now; without it, waiting for the chart would time out
        self.wait(f"return document.querySelectorAll('{drawn}').length > 0")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, seconds=20):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(lambda _: self.run(script))

    def prefer(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def line(self, text):
        return self.driver.find_element("xpath", f"//*[@id='console']/li[contains(., '{text}')]")

    @property
    def marked(self):
        """The marker's time in seconds, None where there is none."""
        return self.run("return document.getElementById('chart').layout.shapes?.[0]?.x0 ?? null")

    @property
    def selected(self):
        """The text of the highlighted lines."""
        return [item.text for item in self.driver.find_elements("css selector", "#console [aria-selected=true] span")]

    @property
    def view(self):
        """The seconds from and to that the chart shows."""
        return self.run("return document.getElementById('chart').layout.xaxis.range")

    def point(self, share):
        """Move the pointer over the chart, at this fraction of its width; returns the chain of actions to continue."""
        from selenium.webdriver.common.action_chains import ActionChains

        area = self.find("#chart .xy .nsewdrag, #chart .nsewdrag[data-subplot=xy]")
        offset = round(area.rect["width"] * (share - 0.5))
        return ActionChains(self.driver).move_to_element_with_offset(area, offset, 0)

    @property
    def errors(self):
        return self.driver.get_log("browser")


@pytest.fixture
def boot(chromium, pages):
    """The small boot's page on a desktop; what it wrote to the browser's console fails the test."""
    page = Page(chromium, pages["boot"])
    yield page
    assert page.errors == []


def test_a_click_on_a_console_line_marks_its_moment(boot):
    assert boot.marked is None
    boot.line("second").click()
    assert boot.marked == pytest.approx(0.012)
    boot.line("after a wait").click()
    assert boot.marked == pytest.approx(0.060)
    assert boot.selected == ["after a wait"]
    assert boot.find("#mark").text.startswith("0.060000 s: after a wait")


def test_a_click_on_the_chart_highlights_the_line_being_printed(boot):
    boot.point(0.5).click().perform()
    boot.wait("return document.querySelector('#console [aria-selected=true]')")
    start, end = boot.view
    assert boot.marked == pytest.approx((start + end) / 2, abs=0.002)  # 47 ms: after "second", before "after a wait"
    assert boot.selected == ["second"]


def test_hovering_shows_the_line_without_moving_the_mark(boot):
    boot.point(0.7).perform()
    assert boot.wait("return document.querySelector('#console .at')?.textContent").endswith("after a wait")
    assert boot.marked is None


def test_zooming_by_buttons_and_keys(boot):
    from selenium.webdriver.common.keys import Keys

    whole = boot.view
    boot.line("second").click()
    boot.find("[data-do=in]").click()
    near = boot.view
    assert near[1] - near[0] < (whole[1] - whole[0]) / 2
    assert near[0] <= 0.012 <= near[1]
    boot.find("#chart").send_keys(Keys.ARROW_RIGHT)
    assert boot.view[0] > near[0]
    boot.find("#chart").send_keys("0")
    assert boot.view == whole


def test_a_drag_zooms_to_what_was_dragged_over(boot):
    from selenium.webdriver.common.action_chains import ActionChains

    whole = boot.view
    width = boot.find("#chart .nsewdrag[data-subplot=xy]").rect["width"]
    boot.point(0.25).click_and_hold().perform()
    ActionChains(boot.driver).move_by_offset(round(width / 4), 0).release().perform()
    boot.wait(f"return document.getElementById('chart').layout.xaxis.range[0] > {whole[1] * 0.2}")
    assert boot.view == pytest.approx([whole[1] * 0.25, whole[1] * 0.5], abs=0.003)


def test_the_console_by_keyboard(boot):
    from selenium.webdriver.common.keys import Keys

    console = boot.find("#console")
    console.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert boot.selected == ["second"]
    whole = boot.view
    console.send_keys(Keys.END, Keys.ENTER)
    assert boot.selected == ["last"]
    assert boot.view[1] - boot.view[0] < (whole[1] - whole[0]) / 2
    assert console.get_attribute("aria-activedescendant") == boot.line("last").get_attribute("id")


def test_a_wait_shows_in_the_timeline(boot):
    button = boot.driver.find_element("xpath", "//tr[contains(., 'after a wait')]//button[@data-from]")
    button.click()
    assert boot.marked == pytest.approx(0.012)
    assert boot.selected == ["second"]


def test_rows_and_colour_can_be_chosen(boot):
    from selenium.webdriver.support.ui import Select

    Select(boot.find("#rows")).select_by_visible_text("vCPU")
    assert boot.run("return document.getElementById('chart').layout.yaxis.ticktext") == ["vCPU 0", "vCPU 1"]
    Select(boot.find("#measure")).select_by_visible_text("handling time")
    assert "5.00 ms" in boot.find("#scale").text  # the hlt


def test_nothing_is_requested(boot):
    assert boot.run("return performance.getEntriesByType('resource').map(entry => entry.name)") == []


@pytest.mark.parametrize("size", [PHONE, (320, 640), DESKTOP])
def test_the_page_does_not_scroll_sideways(chromium, pages, size):
    page = Page(chromium, pages["boot"], size)
    assert page.run("return innerWidth") == size[0]  # a phone widens its view to a page that is too wide
    assert page.run("const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    page.line("second").click()
    assert page.selected == ["second"]


COLOURS = """
const luminance = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map((part) => part / 255).map((c) =>
    c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
};
return [...document.querySelectorAll("h1, dt, dd, li, li *, td, th, p, button, select, #chart .xtick text, footer")]
  .filter((element) => element.textContent.trim() && element.getClientRects().length)
  .map((element) => {
    const style = getComputedStyle(element);
    const ink = luminance(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const paper = luminance(behind(element.closest("svg")?.closest("#chart") ?? element));
    const [high, low] = ink > paper ? [ink, paper] : [paper, ink];
    return [(high + 0.05) / (low + 0.05), element.tagName + ": " + element.textContent.slice(0, 40)];
  });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(chromium, pages, scheme):
    page = Page(chromium, pages["boot"], scheme=scheme)
    page.line("second").click()
    assert [(ratio, text) for ratio, text in page.run(COLOURS) if ratio < 4.5] == []  # WCAG 2.2, 1.4.3


def test_dark_mode_changes_page_and_chart(boot):
    colours = (
        "return [getComputedStyle(document.body).backgroundColor, document.getElementById('chart').layout.font.color]"
    )
    light = boot.run(colours)
    boot.prefer("dark")
    boot.wait(f"{colours.replace('return [', 'return ![').replace('[getC', '[getC')}.includes({json.dumps(light[1])})")
    dark = boot.run(colours)
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_a_hostile_guest_runs_nothing(chromium, pages):
    page = Page(chromium, pages["hostile"])
    page.point(0.5).click().perform()
    assert page.run("return window.pwned ?? null") is None
    assert page.run("return document.querySelectorAll('img, #chart b').length") == 0
    assert page.line("window.pwned").text.endswith(EVIL)
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_page_of_two_campaigns(chromium, tmp_path, size, scheme):
    rows = [
        {"spec": "a.toml", "status": int(n > 30), "kind": EVIL, "error": EVIL, "seconds": 1 + n / 50, "exits": n,
         "handling_ns": n, "groups": [], "phases": None, "set.vm.vcpus": vcpus}
        for n in range(32) for vcpus in (1, 2, 4)
    ]  # fmt: skip
    for name, slower in (("a", 0), ("b", 2)):
        slow = [row | {"seconds": row["seconds"] + slower} for row in rows]
        pq.write_table(pa.Table.from_pylist(slow), tmp_path / name)
    a, b = load_campaign(tmp_path / "a"), load_campaign(tmp_path / "b")
    (tmp_path / "page.html").write_text(render_campaign([a, b], compare(a, b)), encoding="utf-8")
    page = Page(chromium, (tmp_path / "page.html").as_uri(), size, scheme, drawn="figure svg path.a")
    assert page.run("const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    assert [(ratio, text) for ratio, text in page.run(COLOURS) if ratio < 4.5] == []  # WCAG 2.2, 1.4.3
    drawn = page.run("return [...document.querySelectorAll('figure path')].map((path) => path.getBBox().width)")
    assert len(drawn) > 30
    assert len(page.run("return [...document.querySelectorAll('svg[role=img]')].map((svg) => svg.ariaLabel)")) == 18
    assert page.run("return window.pwned ?? null") is None


def test_a_page_of_a_trace_without_javascript_still_reads(chromium, pages):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(pages["boot"])
        text = chromium.find_element("css selector", "body").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "The chart needs JavaScript" in text
    assert "after a wait" in text
