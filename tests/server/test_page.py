"""The page: what its server answers, and the page itself in headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import time

import httpx
import numpy as np
import pytest
from scipy import sparse

pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

from served import train

from keras_multvae import ItemFeatures, ModelCard, Recommender, export_saved_model

pytestmark = pytest.mark.once

PICKS = ["f3", "f14", "f5"]
# Three in a row; the last three have none.
GENRES = ["Drama", "War|Drama", "Comedy"] * 9 + ["", "", ""]


@pytest.fixture(scope="module")
def address(served, running, tmp_path_factory):
    """A page of the served recommender's model, with labels."""
    old = served.recommender
    features = ItemFeatures.from_columns(
        {"genres": GENRES, "plot": ["one two"] * 30, "length": list(range(30))},
        {"plot": "words"},
    )
    recommender = Recommender(
        old.model, old.items, titles=old.titles, features=features
    )
    folder = tmp_path_factory.mktemp("page") / "films"
    card = ModelCard("films & <b>more</b>", licence="[none](javascript:alert)")
    export_saved_model(recommender, folder, card=card)
    with running(folder) as client:
        yield str(client.base_url)


def ask(address, picks, **more):
    body = {"picked": picks, **more}
    answer = httpx.post(address + "/api/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def likelier(recommender, picks):
    """p(item | picks) / p(item | nothing) of all items."""
    return np.exp(scores(recommender, picks) - scores(recommender, []))


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
    """Up to three picks, those that add most first; tiny changes are none."""
    return sorted((p for p in lost if lost[p] >= 0.02), key=lambda p: -lost[p])[:3]


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
    answer = httpx.post(address + "/api/recommend", json=body).json()
    items = answer["items"]
    check_answer(served.recommender, PICKS, niche, items)
    assert any(item["why"] for item in items)
    assert items[0]["title"] == served.titles[items[0]["id"]]
    assert [each["id"] for each in answer["picked"]] == PICKS


def test_how_many_times_likelier(served, address):
    recommender = served.recommender
    known = dict(
        zip(recommender.items.ids, likelier(recommender, PICKS).tolist(), strict=True)
    )
    answer = ask(address, PICKS, niche=0.5)
    for item in answer["items"]:
        assert item["likelier"] == pytest.approx(known[item["id"]], rel=1e-4)
    # Beside them, what an empty history gets.
    prior = recommender.recommend([], k=20).items[0].tolist()
    assert [item["id"] for item in answer["popular"]] == prior
    picked = [item["id"] for item in answer["popular"] if item["likelier"] is None]
    assert picked == [id_ for id_ in prior if id_ in PICKS]
    for item in answer["popular"]:
        if item["id"] not in PICKS:
            assert item["likelier"] == pytest.approx(known[item["id"]], rel=1e-4)
    # Nothing is likelier for nobody.
    assert {item["likelier"] for item in ask(address, [])["items"]} == {None}


@pytest.mark.parametrize(
    ("likelihood", "known"), [("logistic", True), ("gaussian", False)]
)
def test_times_likelier_only_of_probabilities(running, tmp_path, likelihood, known):
    recommender = train([f"f{i}" for i in range(25)], likelihood=likelihood)
    export_saved_model(recommender, tmp_path / "films")
    with running(tmp_path / "films") as client:
        assert client.get("/api/model").json()["log_probabilities"] is known
        answer = ask(str(client.base_url), PICKS)
        check_answer(recommender, PICKS, 0, answer["items"])
        best = answer["items"][0]
        wanted = likelier(recommender, PICKS)[recommender.items.index([best["id"]])[0]]
        assert best["likelier"] == (pytest.approx(wanted, rel=1e-4) if known else None)


@pytest.mark.parametrize("niche", [0, 0.5])
def test_only_items_with_a_label(served, address, niche):
    recommender = served.recommender
    (labels,) = httpx.get(address + "/api/model").json()["labels"]
    counts = {"Drama": 18, "Comedy": 9, "War": 9}
    assert labels["name"] == "genres"
    assert labels["count"] == 3
    assert {e["label"]: e["items"] for e in labels["largest"]} == counts
    assert labels["largest"][0]["label"] == "Drama"
    only = {"feature": "genres", "label": "Drama"}
    answer = ask(address, PICKS, niche=niche, only=only)
    dramas = {f"f{i}" for i, genres in enumerate(GENRES) if "Drama" in genres}
    ranked = scores(recommender, PICKS) - niche * scores(recommender, [])
    best = recommender.items.ids[np.argsort(-ranked, kind="stable")].tolist()
    wanted = [id_ for id_ in best if id_ in dramas - set(PICKS)]
    assert [item["id"] for item in answer["items"]] == wanted
    for item in answer["items"]:
        place = recommender.items.index([item["id"]])[0]
        assert item["score"] == pytest.approx(ranked[place], abs=1e-4)
    prior = recommender.recommend([], k=30).items[0].tolist()
    popular = [item["id"] for item in answer["popular"]]
    assert popular == [id_ for id_ in prior if id_ in dramas]
    # All of a label picked: nothing is left to recommend.
    wars = [f"f{i}" for i, genres in enumerate(GENRES) if "War" in genres]
    left = ask(address, wars, only={"feature": "genres", "label": "War"})
    assert left["items"] == []
    assert {item["id"] for item in left["popular"]} == set(wars)


def test_made_up_examples(served, address):
    examples = httpx.get(address + "/api/examples").json()["examples"]
    assert [len(example) for example in examples] == [4, 4, 4, 4]
    ids = [item["id"] for example in examples for item in example]
    assert len(set(ids)) == 16
    # The first has the four that together make each other likeliest, by brute force.
    raised = np.array([
        scores(served.recommender, [id_]) - scores(served.recommender, [])
        for id_ in served.ids
    ])  # fmt: skip
    both = raised + raised.T
    np.fill_diagonal(both, -np.inf)
    strongest = int(np.sort(both, axis=1)[:, -3:].sum(axis=1).argmax())
    group = {strongest, *np.argsort(-both[strongest])[:3].tolist()}
    assert {served.ids[i] for i in group} in [{i["id"] for i in e} for e in examples]


def test_the_model_card(address):
    answer = httpx.get(address + "/card")
    assert "<h1>Model card: films, version 1</h1>" in answer.text
    assert "<td>likelihood</td>\n<td>multinomial</td>" in answer.text
    assert "films &amp; &lt;b&gt;more&lt;/b&gt;" in answer.text
    assert 'href="javascript' not in answer.text
    assert "<th></th>" not in answer.text


def test_a_version_from_before_there_were_labels(running, films):
    """It is served, and claims of its scores nothing that it does not say."""
    path = films / "1" / "assets.extra" / "catalogue.json"
    content = json.loads(path.read_text())
    del content["labels"], content["log_probabilities"]
    content["titles"][:2] = ["", " "]
    path.write_text(json.dumps(content))
    (path.parent / "files.json").unlink()
    (path.parent / "MODEL_CARD.md").unlink()
    with running(films) as client:
        assert client.get("/api/model").json()["labels"] == []
        answer = ask(str(client.base_url), ["f0", "f1"])
        assert answer["items"][0]["likelier"] is None
        # Blank titles show the id.
        assert [item["title"] for item in answer["picked"]] == ["f0", "f1"]
        card = client.get("/card")
        assert card.status_code == 404
        assert "without assets.extra/MODEL_CARD.md" in card.json()["error"]


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
    # By id, and with a typing error in each word.
    assert search("f12")[0] == "f12"
    assert search(" f7 ") == ["f7"]
    assert search("flim 7 teh") == ["f7"]
    assert search("eté 2003") == ["f3"]
    assert search("xilm 2003 éte") == ["f3"]
    assert search("fixlm 2003") == ["f3"]
    assert search("flm 2003") == ["f3"]
    assert search("flxxm 2003") == []
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
        (b'{"picked": [], "only": "Drama"}', '"only" must be'),
        (
            b'{"picked": [], "only": {"feature": "genres", "label": ["Drama"]}}',
            '"only" must be',
        ),
        (
            b'{"picked": [], "only": {"feature": "genres", "label": "Opera"}}',
            "has the genres 'Opera'",
        ),
        (
            b'{"picked": [], "only": {"feature": "plot", "label": "one"}}',
            "has the plot 'one'",
        ),
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
    for path in ("/", "/page.css", "/page.js", "/card"):
        answer = httpx.get(address + path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        # Links of the card lead elsewhere when somebody follows them.
        text = re.sub(r'<a href="[^"]*">', "", answer.text)
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


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

    def __init__(self, browser, address, width=1200, height=800, wait=True):
        from selenium.webdriver.common.keys import Keys

        self.browser, self.keys = browser, Keys
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get("about:blank")  # Else another fragment would load nothing.
        browser.get(address)
        if wait:
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

    def tab_to(self, name, back=False):
        """Tabs on, or back, until something has the focus; each stop must show it."""
        for _ in range(40):
            self.press(*[self.keys.SHIFT] * back, self.keys.TAB)
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
    known = likelier(recommender, PICKS)[recommender.items.index(wanted.items[0])]
    shown = [float(text.split("\u00d7")[0]) for text in page.texts("#results .score")]
    np.testing.assert_allclose(shown, known, atol=0.051)
    assert page.ids("#popular") == prior
    for row, item in enumerate(page.ids("#results")[:5], 1):
        lost = changes(recommender, PICKS, item)
        reasons = reasons_of(lost)
        where = f"#results > li:nth-child({row}) .why"
        assert page.ids(where) == reasons
        for text, pick in zip(page.texts(where + " b"), reasons, strict=True):
            times = float(text.removeprefix("\u00d7"))
            assert times == pytest.approx(np.exp(lost[pick]), abs=0.0051)

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
    page.tab_to(f"Titles similar to {titles[best[0]]}", back=True)
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


def test_a_link_restores_the_state(served, browser, address):
    page, recommender = Page(browser, address), served.recommender
    page.tab_to("search")
    page.pick("Film 14", 1)
    page.pick("Film 16", 2)
    page.tab_to("niche")
    page.press(page.keys.ARROW_RIGHT, page.keys.ARROW_RIGHT)
    page.tab_to("only")
    page.press("Comedy")
    comedies = [f"f{i}" for i, genres in enumerate(GENRES) if genres == "Comedy"]
    page.until(lambda: set(page.ids("#results")) == set(comedies) - {"f14"})
    shown, link = page.ids("#results"), browser.current_url
    assert link == address + "/#pick=f14&pick=f16&niche=0.1&feature=genres&label=Comedy"
    # The address bar's fragment is no part of a request.
    page.requests()
    again = Page(browser, "about:blank", wait=False)
    again.browser.get(link.replace("pick=f16", "pick=f16&pick=of+another+version"))
    again.until(lambda: again.ids("#results") == shown)
    assert again.ids("#picked") == ["f14", "f16"]
    assert again.texts("#picked li")[0].startswith(served.titles["f14"])
    assert again.js("return [niche.value, only.selectedOptions[0].text]") == [
        "0.1", "Comedy (9)",
    ]  # fmt: skip
    assert browser.current_url == link
    assert not any("pick" in url for url in again.requests() if "#" not in url)
    # Another link in the same tab, and one that makes no sense.
    again.js("location.hash = 'pick=f3&niche=much'")
    wanted = recommender.recommend(["f3"], k=20).items[0].tolist()
    again.until(lambda: again.ids("#results") == wanted)
    assert browser.current_url == address + "/#pick=f3"
    # The link to the results leaves it alone.
    again.js("document.getElementById('skip').click()")
    assert browser.current_url == address + "/#pick=f3"
    assert again.focused()[0] == "results"


def test_examples_and_the_card_by_keyboard(browser, address):
    page = Page(browser, address)
    page.until(lambda: page.texts("#examples button"))
    first = page.texts("#examples button")[0]
    page.tab_to(first)
    page.press(page.keys.ENTER)
    page.until(lambda: "from 4 picked" in page.texts("#status")[0])
    assert [t.rstrip("\u00d7") for t in page.texts("#picked li")] == first.split(
        " \u00b7 "
    )
    assert page.focused() == ["clear", True]
    page.press(page.keys.ENTER)
    page.until(lambda: page.texts("#status") == ["20 titles"])
    assert page.texts("#examples button")[0] == first
    page.tab_to("Model card", back=True)
    page.press(page.keys.ENTER)
    page.until(lambda: page.texts("h1") == ["Model card: films, version 1"])
    assert browser.get_log("browser") == []
    assert all(url.startswith((address, "data:")) for url in page.requests())


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
        "return [...document.querySelectorAll('button, input, select')]"
        ".filter(each => each.checkVisibility())"
        ".filter(each => each.getBoundingClientRect().height < 28)"
        ".map(each => each.outerHTML)"
    )
    assert small == []
    # The results come before the knob.
    tops = page.js(
        "return ['search', 'picked', 'results', 'niche', 'only', 'popular'].map("
        "id => document.getElementById(id).getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
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
