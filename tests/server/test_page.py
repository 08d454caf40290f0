"""The page: what its server answers, and the page itself in headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import time

import httpx
import numpy as np
import pytest
from scipy import sparse

pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

from served import train

from keras_multvae import export_saved_model

pytestmark = pytest.mark.once

PICKS = ["f3", "f14", "f5"]


@pytest.fixture(scope="module")
def address(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "films"
    shutil.copytree(served.folder / "1", folder / "1")
    with running(folder) as client:
        yield str(client.base_url)


def scores(recommender, items):
    """Scores of all items, for a history."""
    row = np.zeros((1, len(recommender.items)), "float32")
    row[0, recommender.items.index(items)] = 1
    return recommender.model.score(sparse.csr_matrix(row))[0]


def changes(recommender, picks, item):
    """What the score of an item loses without each pick, by a model run for each."""
    (place,) = recommender.items.index([item])
    everything = scores(recommender, picks)[place]
    return {
        pick: everything
        - scores(recommender, [each for each in picks if each != pick])[place]
        for pick in picks
    }


def reasons_of(lost):
    """Up to three picks, those that add most first; one that shows as 0.00 is none."""
    return sorted((p for p in lost if lost[p] >= 0.005), key=lambda p: -lost[p])[:3]


def check_answer(recommender, picks, niche, answer):
    ranked = scores(recommender, picks) - niche * scores(recommender, [])
    ranked[recommender.items.index(picks)] = -np.inf
    best = recommender.items.ids[np.argsort(-ranked, kind="stable")].tolist()
    shown = min(20, len(best) - len(picks))
    assert [item["id"] for item in answer] == list(map(str, best[:shown]))
    for item, id_ in zip(answer, best, strict=False):
        assert item["score"] == pytest.approx(ranked[recommender.items.index([id_])[0]],
                                              abs=1e-4)  # fmt: skip
        lost = changes(recommender, picks, id_)
        reasons = reasons_of(lost)
        assert [each["id"] for each in item["why"]] == list(map(str, reasons))
        for each, pick in zip(item["why"], reasons, strict=True):
            assert each["change"] == pytest.approx(lost[pick], abs=1e-4)


@pytest.mark.parametrize("niche", [0, 0.5, 1])
def test_recommendations_and_their_reasons(served, address, niche):
    body = {"picked": [*PICKS, "of another version", PICKS[0]], "niche": niche}
    answer = httpx.post(address + "/api/recommend", json=body).json()["items"]
    check_answer(served.recommender, PICKS, niche, answer)
    assert answer[0]["title"] == served.titles[answer[0]["id"]]


def test_ids_that_are_numbers(running, tmp_path):
    big = 2**60  # JavaScript's numbers end before.
    recommender = train(range(big, big + 25))
    export_saved_model(recommender, tmp_path / "numbers")
    with running(tmp_path / "numbers") as client:
        picks = [big + 3, big + 4]
        body = {"picked": list(map(str, picks)), "niche": 0.2}
        answer = client.post("/api/recommend", json=body).json()["items"]
        check_answer(recommender, picks, 0.2, answer)
        found = client.get("/api/search", params={"q": str(big + 7)}).json()["items"]
        assert found == [{"id": str(big + 7), "title": str(big + 7)}]
        found = client.get("/api/similar", params={"id": str(big)}).json()["items"]
        items = recommender.similar_items([big], k=6).items[0]
        assert [each["id"] for each in found] == list(map(str, items))


def test_search(served, address):
    def search(query):
        found = httpx.get(address + "/api/search", params={"q": query}).json()["items"]
        return [each["id"] for each in found]

    assert search("FILM 7 the") == ["f7"]
    assert search("ete 2003") == ["f3"]
    assert search("nothing like it") == []
    # The best known come first.
    prior = served.recommender.recommend([], k=30).items[0].tolist()
    assert search("") == prior
    assert search("night") == [id_ for id_ in prior if int(id_[1:]) % 2 == 0]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "must be JSON"),
        (b"[]", '"picked" must be a list'),
        (b'{"picked": [1]}', '"picked" must be a list of item ids'),
        (b'{"picked": [], "niche": 2}', "from 0 to 1"),
        (b'{"picked": [], "niche": NaN}', "from 0 to 1"),
        (b'{"picked": [], "niche": "0"}', "must be a number"),
        (json.dumps({"picked": ["x"] * 201}).encode(), "200 are the most"),
    ],
)
def test_bad_questions(address, body, text):
    answer = httpx.post(address + "/api/recommend", content=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


def test_similar_to_nothing(address):
    answer = httpx.get(address + "/api/similar", params={"id": "x"})
    assert answer.status_code == 404
    assert "no item 'x'" in answer.json()["error"]


def test_a_version_without_titles_says_so(running, films):
    for name in ("catalogue.json", "files.json"):
        (films / "1" / "assets.extra" / name).unlink()
    with running(films) as client:
        answer = client.get("/api/model")
        assert answer.status_code == 404
        assert "Export it again" in answer.json()["error"]
        assert client.get("/").status_code == 200


def test_nothing_comes_from_elsewhere(address):
    for path in ("/", "/page.css", "/page.js"):
        answer = httpx.get(address + path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(paths):
        pytest.skip("Chromium and its driver are not installed (apt: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("headless=new", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
    yield driver
    driver.quit()


class Page:
    """What somebody without a mouse does and sees."""

    def __init__(self, browser, address, width=1200, height=800):
        from selenium.webdriver.common.keys import Keys

        self.browser, self.keys = browser, Keys
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get(address)
        self.until(lambda: self.ids("#results"))

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def until(self, condition):
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def js(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def ids(self, where):
        return self.js(
            "return [...document.querySelectorAll(arguments[0] + '> [data-id]')]"
            ".map(each => each.dataset.id)",
            where,
        )

    def texts(self, where):
        return self.js(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map(each => each.textContent)",
            where,
        )

    def pick(self, words, count):
        self.press(words)
        self.until(lambda: words.casefold() in self.found()[0].casefold())
        self.press(self.keys.ENTER)
        self.until(lambda: f"from {count} picked" in self.texts("#status")[0])

    def found(self):
        return self.texts("#found:not([hidden]) > [role=option]") or [""]

    def focused(self):
        """What has the focus, and whether one sees it."""
        return self.js(
            "const it = document.activeElement, style = getComputedStyle(it);"
            "return [it.id || it.getAttribute('aria-label') || it.textContent,"
            " style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0]"
        )

    def tab_to(self, name):
        """Tabs on until something has the focus; each stop must show it."""
        for _ in range(40):
            self.press(self.keys.TAB)
            now, seen = self.focused()
            assert seen, now
            if now == name:
                return
        raise AssertionError(f"Tab does not reach {name}")

    def requests(self):
        """Addresses that were asked for since the last call."""
        messages = [
            json.loads(entry["message"])["message"]
            for entry in self.browser.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


def test_the_page_by_keyboard(served, browser, address):
    page, recommender = Page(browser, address), served.recommender
    titles = served.titles
    prior = recommender.recommend([], k=20).items[0].tolist()
    assert page.ids("#results") == prior
    page.tab_to("search")
    # Arrow keys go through what is found; Escape closes it.
    page.press("film")
    page.until(lambda: len(page.found()) > 5)
    page.press(page.keys.ARROW_DOWN, page.keys.ARROW_DOWN, page.keys.ARROW_UP)
    assert page.js(
        "return document.getElementById("
        "  document.getElementById('search').getAttribute('aria-activedescendant'))"
        ".textContent"
    ) == page.found()[1]  # fmt: skip
    page.press(page.keys.ESCAPE)
    assert page.found() == [""]
    page.press(page.keys.ESCAPE)
    for count, id_ in enumerate(PICKS, 1):
        page.pick(titles[id_][:12].rstrip(), count)
        assert page.ids("#picked") == PICKS[:count]
        # The list changes with each pick.
        wanted = recommender.recommend(PICKS[:count], k=20)
        assert page.ids("#results") == wanted.items[0].tolist()
    assert page.texts(".title") == [titles[id_] for id_ in page.ids("#results")]
    shown = [float(text.replace("\u2212", "-")) for text in page.texts(".score")]
    np.testing.assert_allclose(shown, wanted.scores[0], atol=0.0051)
    for row, item in enumerate(page.ids("#results")[:5], 1):
        lost = changes(recommender, PICKS, item)
        reasons = reasons_of(lost)
        where = f"#results > li:nth-child({row}) .why"
        assert page.ids(where) == reasons
        for text, pick in zip(page.texts(where + " b"), reasons, strict=True):
            assert float(text) == pytest.approx(lost[pick], abs=0.0051)

    # Removing the last one gives the focus to the one before.
    page.tab_to(f"Remove {titles[PICKS[2]]}")
    page.press(page.keys.ENTER)
    page.until(lambda: page.ids("#picked") == PICKS[:2])
    assert page.focused() == [f"Remove {titles[PICKS[1]]}", True]
    page.until(lambda: "from 2 picked" in page.texts("#status")[0])

    # The knob, to its end: what many like is taken out of the ranking.
    page.tab_to("niche")
    page.press(page.keys.END)
    ranked = scores(recommender, PICKS[:2]) - scores(recommender, [])
    ranked[recommender.items.index(PICKS[:2])] = -np.inf
    best = recommender.items.ids[np.argsort(-ranked)][:20].tolist()
    page.until(lambda: page.ids("#results") == best)

    # One stop in the list for Tab; the arrow keys go from row to row.
    page.tab_to(f"Titles similar to {titles[best[0]]}")
    page.press(page.keys.ARROW_DOWN)
    assert page.focused() == [f"Titles similar to {titles[best[1]]}", True]
    page.press(page.keys.ENTER)
    page.until(lambda: page.ids(".similar"))
    similar = recommender.similar_items([best[1]], k=6)
    assert page.ids(".similar") == similar.items[0].tolist()
    shown = [float(text.replace("\u2212", "-")) for text in page.texts(".similar b")]
    np.testing.assert_allclose(shown, similar.scores[0], atol=0.0051)
    page.tab_to(f"Add {titles[best[1]]}")
    page.press(page.keys.END)
    assert page.focused() == [f"Add {titles[best[19]]}", True]
    page.press(page.keys.ENTER)
    page.until(lambda: page.ids("#picked") == [*PICKS[:2], best[19]])

    assert browser.get_log("browser") == []
    asked = page.requests()
    assert any("/api/recommend" in url for url in asked)
    assert all(url.startswith((address, "data:")) for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_on_a_phone(browser, address, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page = Page(browser, address, 360, 740)
    page.tab_to("search")
    page.pick("Film 14", 1)
    widths = page.js(
        "const it = document.documentElement; return [it.scrollWidth, it.clientWidth]"
    )
    assert widths[0] == widths[1] <= 360
    small = page.js(
        "return [...document.querySelectorAll('button, input')]"
        ".filter(each => each.getBoundingClientRect().height < 28)"
        ".map(each => each.outerHTML)"
    )
    assert small == []
    paper = page.js("return getComputedStyle(document.body).backgroundColor")
    lightness = int(paper.partition("(")[2].split(",")[0])
    assert (lightness > 128) == (scheme == "light")
    assert browser.get_log("browser") == []


def test_the_page_without_its_server(browser, running, films):
    with running(films) as client:
        page = Page(browser, str(client.base_url))
        page.tab_to("search")
    page.press("film")
    page.until(lambda: page.js("return !document.getElementById('failure').hidden"))
    assert page.texts("#failure") == [
        "The server does not answer. Is it still running?"
    ]
