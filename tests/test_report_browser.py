"""The report as a person uses it: in headless Chromium, from the disk."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from report_runs import GROUP, make_run
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from llmrl.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver"),
]

FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync", "window-size=1280,1000"]
STEPS = 40


class Browser:
    """A Chromium, and short ways to what a page shows."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(str(CHROMEDRIVER)))
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(20)

    def open(self, page: Path) -> None:
        self.driver.get(page.as_uri())
        self.wait(lambda: self.js("return document.documentElement.dataset.ready === 'true'"))

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 20).until(lambda _: condition())

    def js(self, code: str, *arguments: object) -> Any:
        return self.driver.execute_script(code, *arguments)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector)

    def column(self, name: str) -> list[str]:
        return self.texts(f"#rows td.{name}")

    def type(self, name: str, text: str) -> None:
        field = self.one(f"#filter [name={name}]")
        field.clear()
        field.send_keys(text)

    def key(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def plots(self, code: str) -> list[Any]:
        """What a JavaScript expression of ``plot``, a Bokeh figure, gives for every chart, by no order."""
        return self.js(f"return [...Bokeh.index].filter((v) => v.model.renderers).map(({{model: plot}}) => {code})")

    def drawn(self, metric: str) -> list[dict[str, list[float]]]:
        """The data that Bokeh holds for a metric's chart: band, raw, line and dots of each series in turn."""
        data = "plot.renderers.map((r) => Object.fromEntries(Object.entries(r.data_source.data)))"
        return next(layers for name, layers in self.plots(f"[plot.name, {data}]") if name == metric)

    def problems(self) -> list[str]:
        """Errors of the console since the last call, and requests for anything but files and data."""
        errors = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        urls = [request["request"]["url"] for request in asked if request["documentURL"].startswith("file:")]
        return errors + [url for url in urls if not url.startswith(("file:", "data:"))]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, which must have met no error and asked no network for anything when the test ends."""
    yield chromium
    assert chromium.problems() == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of one run; of three seeds; of two seeds and another configuration."""
    folder = tmp_path_factory.mktemp("runs")
    seeds = [make_run(folder / f"seed-{seed}", steps=STEPS, seed=seed) for seed in range(3)]
    other = make_run(folder / "other", steps=STEPS // 2, planned=STEPS, kl_coef=0.5)
    pages = {"one": seeds[:1], "seeds": seeds, "mixed": [*seeds[:2], other]}
    for name, runs in pages.items():
        write_report(runs, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in pages}


def test_the_page_opens_and_says_what_came_of_the_run(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    assert browser.one("h1").text == "seed-0"
    assert browser.texts(".headline") == ["0.250\n→\n0.750\n+0.500", "0.500\n→\n0.875\n+0.375"]
    facts = dict(zip(browser.texts("#facts dt"), browser.texts("#facts dd"), strict=True))
    assert facts["Steps"] == "40"
    assert facts["Wall time"] == "1 min 40 s"
    assert facts["Failed rewards"] == "4"
    assert browser.js("return document.querySelectorAll('#charts canvas, #charts .plot > *').length") > 0
    assert "train.seed" in browser.one("#settings").text


def test_completions_are_filtered_by_reward_text_step_and_failure(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    browser.type("rewardFrom", "0.3")
    browser.type("rewardTo", "0.7")
    assert browser.one("#page").text == f"1–50 of {2 * STEPS}"
    assert set(browser.column("reward")) == {"0.3333", "0.6667"}
    browser.type("stepFrom", "39")
    assert browser.one("#page").text == "1–4 of 4"
    browser.type("text", "ANSWER 1 at")
    assert browser.column("completion") == ["answer 1 at step 39", "answer 1 at step 40"]
    browser.one("#filter [type=reset]").click()
    browser.wait(lambda: browser.one("#page").text == f"1–50 of {GROUP * STEPS}")
    browser.one("#filter [name=failed]").click()
    assert browser.column("step") == ["10", "20", "30", "40"]
    assert browser.column("reward") == ["–"] * 4
    browser.type("text", "nowhere")
    assert browser.one("#page").text == "No completion passes these filters."


def test_completions_are_sorted_by_any_column_and_turned_by_pages(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    for name in ("reward", "step", "completion", "short"):
        selector = next(th for th in browser.all("#rows th button") if th.text.strip(" ↑↓") == name)
        selector.click()
    reward = next(th for th in browser.all("#rows th button") if th.text == "reward")
    reward.click()
    assert browser.one("#rows th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert set(browser.column("reward")) == {"1", "0.6667"}
    browser.key(Keys.ENTER)
    assert set(browser.column("reward")) == {"0", "0.3333"}
    browser.one("#next").click()
    browser.one("#next").click()
    browser.one("#next").click()
    assert browser.one("#page").text == "151–160 of 160"
    assert browser.column("reward")[-4:] == ["–"] * 4, "rows without a reward come last either way"
    assert not browser.one("#next").is_enabled()


def test_a_completion_is_opened_and_left_by_the_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    browser.js("document.querySelector('#rows tbody tr').focus()")
    browser.key(Keys.ARROW_DOWN, Keys.ENTER)
    assert browser.one("#opened").is_displayed()
    assert browser.one("pre.prompt").text == "What is 1 + 1?"
    assert browser.one("pre.completion").text == "answer 1 at step 1"
    assert browser.one("pre.answer").text == "2"
    values = dict(zip(browser.texts("#opened dt"), browser.texts("#opened dd"), strict=True))
    assert values["reward"] == values["rewards/correct"] == "0.3333"
    assert values["rewards/short"] == "0.5"
    assert values["advantage"] == "0.5"
    assert values["finish_reason"] == "stop"
    assert len(browser.all(".siblings li")) == GROUP - 1
    browser.key(Keys.ARROW_RIGHT)
    assert browser.one("pre.completion").text == "answer 2 at step 1"
    browser.key(Keys.ESCAPE)
    browser.wait(lambda: not browser.one("#opened").is_displayed())
    assert browser.js("return document.activeElement.dataset.position") == "2"


def test_a_failure_is_shown_with_its_reason(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    browser.one("#filter [name=failed]").click()
    browser.js("document.querySelector('#rows').scrollIntoView()")
    browser.all("#rows tbody tr")[0].click()
    assert browser.one("#opened .note").text == "Failed: TimeLimit: after 1 s"


def test_curves_are_switched_on_and_off(browser: Browser, pages: dict[str, Path]) -> None:
    def shown() -> list[str]:
        return browser.js("return [...document.querySelectorAll('#charts figure')].map((f) => f.dataset.metric)")

    browser.open(pages["one"])
    assert shown() == ["reward", "eval_accuracy", "kl", "loss"]
    browser.one("#picker summary").click()
    browser.one("#picker input[value=kl]").click()
    browser.one("#picker input[value=learning_rate]").click()
    assert shown() == ["reward", "eval_accuracy", "loss", "learning_rate"]
    assert browser.drawn("learning_rate")[2]["y"] == pytest.approx([1e-3] * STEPS)
    assert "4 of" in browser.one("#picker summary").text


def test_the_axis_is_steps_tokens_or_time(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    for axis, factor in (("num_tokens", 100), ("wall_s", 2), ("step", 1)):
        browser.js("arguments[0].click()", browser.one(f"#axis input[value={axis}]"))
        assert browser.drawn("reward")[2]["x"] == [factor * step for step in range(1, STEPS + 1)]
        assert browser.drawn("eval_accuracy")[2]["x"] == [factor * step for step in range(0, STEPS + 1, 5)]


def smoothing(browser: Browser, position: int) -> None:
    slider = browser.one("#smoothing")
    browser.js("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, position)


def test_smoothing_averages_and_keeps_what_was_behind(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    peaks = [9.0 if step == 7 else 0.5 for step in range(1, STEPS + 1)]
    smoothing(browser, 0)
    _, raw, line, _ = browser.drawn("loss")
    assert (line["y"], raw["y"]) == (peaks, [])
    smoothing(browser, 20)
    assert browser.one("#span").text == "about 10 steps"
    _, raw, line, _ = browser.drawn("loss")
    assert raw["y"] == peaks
    keep = [math.exp(-i / 10) for i in range(7)]
    assert line["y"][6] == pytest.approx((9 * keep[0] + 0.5 * sum(keep[1:])) / sum(keep), rel=1e-9)


def test_the_height_of_a_chart_fits_what_it_shows_and_spikes_can_leave_it(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    def heights() -> tuple[float, float]:
        return next(
            ends
            for name, ends in browser.plots("[plot.name, [plot.y_range.start, plot.y_range.end]]")
            if name == "loss"
        )

    browser.open(pages["one"])
    smoothing(browser, 0)
    assert heights() == pytest.approx((0.5 - 0.06 * 8.5, 9 + 0.06 * 8.5))
    run = make_run(tmp_path / "run", steps=STEPS)
    rows = [{"step": s, "loss": 100.0 if s == 20 else s % 5} for s in range(1, STEPS + 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report([run], tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    smoothing(browser, 0)
    assert heights()[1] > 100
    browser.one("#trim").click()
    low, high = heights()
    assert low < 0 < 4 < high < 7


def test_hovering_shows_values_and_moves_a_cursor_in_every_chart(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["one"])
    smoothing(browser, 0)
    chart = browser.one("figure[data-metric=reward] .plot")
    ActionChains(browser.driver).move_to_element(chart).perform()
    browser.wait(lambda: browser.one("#readout").is_displayed())
    first, value = browser.one("#readout").text.split("\n")
    step = int(first.removeprefix("step "))
    assert 10 < step < 30
    assert float(value) == step / 100
    cursors = browser.plots("plot.center.filter((r) => r.type === 'Span').map((s) => [s.location, s.visible])")
    assert cursors == [[[step, True]]] * 4


def test_dragging_zooms_every_chart_and_a_button_goes_back(browser: Browser, pages: dict[str, Path]) -> None:
    def ranges() -> set[tuple[float, float]]:
        return {
            (round(start, 6), round(end, 6)) for start, end in browser.plots("[plot.x_range.start, plot.x_range.end]")
        }

    browser.open(pages["one"])
    assert ranges() == {(0, STEPS)}
    chart = browser.one("figure[data-metric=loss] .plot")
    ActionChains(browser.driver).move_to_element(chart).click_and_hold().move_by_offset(60, 5).release().perform()
    browser.wait(lambda: browser.one("#reset-zoom").is_displayed())
    browser.wait(lambda: len(ranges()) == 1)
    ((start, end),) = ranges()
    assert 10 < start < end < 35
    browser.one("#reset-zoom").click()
    assert ranges() == {(0, STEPS)}
    assert not browser.one("#reset-zoom").is_displayed()


def test_seeds_are_one_curve_with_a_band_or_a_curve_each(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["seeds"])
    smoothing(browser, 0)
    band, _, line, _ = browser.drawn("reward")
    assert line["y"] == pytest.approx([1 + step / 100 for step in range(1, STEPS + 1)])
    assert band["low"] == pytest.approx([step / 100 for step in range(1, STEPS + 1)])
    assert band["high"] == pytest.approx([2 + step / 100 for step in range(1, STEPS + 1)])
    assert browser.texts("#comparison tbody th")[0] == "seeds 0, 1, 2: mean of 3"
    assert "0.250 → 0.760 +0.510 (0.750 to 0.770)" in browser.texts("#comparison td")[0]
    browser.one("#by-seed").click()
    assert len(browser.texts("#legend label")) == 3
    assert [layer["y"][0] for layer in browser.drawn("reward")[2::4]] == [0.01, 1.01, 2.01]


def test_runs_are_compared_and_hidden_one_by_one(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["mixed"])
    assert [text.split(" (")[0] for text in browser.texts("#legend label")] == ["kl_coef 0.0", "kl_coef 0.5"]
    assert browser.texts("#differences tbody th") == [
        "algorithm.kl_coef",
        "train.output_dir",
        "train.seed",
    ]
    assert browser.texts("#comparison tbody th")[-1] == "kl_coef 0.5"
    assert "not finished" in browser.one("#comparison").text
    assert len(browser.drawn("reward")[6]["y"]) == STEPS // 2
    browser.all("#legend input")[1].click()
    assert browser.drawn("reward")[6]["y"] == []
    assert len(browser.drawn("reward")[2]["y"]) == STEPS
    browser.one("#filter [name=run]").send_keys(Keys.END)
    assert set(browser.column("run")) == {"other"}


def test_text_of_a_run_is_shown_and_never_obeyed(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "<img src=x onerror=alert(1)>", steps=2)
    hostile = "</script><img src=x onerror='document.title = 1'><script>document.title = 2</script>"
    row = {"step": 1, "prompt": hostile, "completion": hostile, "answer": hostile, "reward": 1.0, "failures": [hostile]}
    (run / "completions.jsonl").write_text(json.dumps(row) + "\n")
    write_report([run], tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.js("document.querySelector('#rows').scrollIntoView()")
    browser.one("#rows tbody tr").click()
    assert browser.one("pre.completion").text == hostile
    assert browser.all("img") == []
    assert browser.driver.title == "<img src=x onerror=alert(1)> · llmrl"


def test_a_run_without_steps_or_completions_is_a_page_too(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    write_report([tmp_path / "run"], tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert browser.texts(".note") == ["no step is written yet", "no completions are logged"]
    assert not browser.one("#curves").is_displayed()
    assert browser.one("#page").text == "This run has no completions to show."


def test_the_page_fits_a_phone_and_follows_a_dark_scheme(browser: Browser, pages: dict[str, Path]) -> None:
    def emulate(width: int, scheme: str) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def line_colour() -> str:
        return browser.plots("plot.renderers[2].glyph.line_color.value")[0]

    try:
        for page in pages.values():
            emulate(400, "light")
            browser.open(page)
            assert browser.js("return document.documentElement.scrollWidth") == 400
            light = line_colour()
            emulate(400, "dark")
            browser.wait(lambda light=light: line_colour() != light)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_the_report_of_a_real_run(browser: Browser, tmp_path: Path) -> None:
    options = {"steps": 3, "eval-problems": 20, "eval-every": 2, "output-dir": tmp_path / "run"}
    flags = [str(part) for name, value in options.items() for part in (f"--train.{name}", value)]
    command = [sys.executable, str(ROOT / "recipes" / "grpo_math.py"), *flags]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    write_report([tmp_path / "run"], tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for name, text in zip(("accuracy", "greedy"), browser.texts(".headline"), strict=True):
        before, _, after, _ = text.split("\n")
        assert (before, after) == (f"{summary[f'{name}_before']:.3f}", f"{summary[f'{name}_after']:.3f}")
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    smoothing(browser, 0)
    assert browser.drawn("reward")[2]["y"] == pytest.approx([line["reward"] for line in logged], rel=1e-4)
    assert browser.one("#page").text.endswith("of 384")
