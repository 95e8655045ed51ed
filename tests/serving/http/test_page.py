"""The service's page, in a real browser."""

import pytest

from tests.support.bundles import exported, trained_classic
from tests.support.serving import running
from tests.support.waiting import HANG, until

KEY = "a-key-of-our-own"


@pytest.fixture(scope="module")
def served(two_bundles, tmp_path_factory):
    names = tmp_path_factory.mktemp("names") / "names.tsv"
    names.write_text("".join(f"i{i}\tThing number {i}\n" for i in range(1, 50)) + "i50\t<img src=x onerror=alert(1)>\n")
    with running(two_bundles[0], names=names) as service:
        yield service


@pytest.fixture
def page(browser, served):
    """The page, opened; it may neither fail nor ask another host."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(1000 * HANG)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Security Policy" in said.text else None)
    page.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith(served.url) else None)
    page.goto(served.url)
    page.wait_for_selector("#merged li")
    yield page
    context.close()
    assert faults == []


def wait(page, condition):
    """Wait for a condition; the page's policy does not let playwright do it."""
    until(lambda: page.evaluate(condition))


def pick(page, *texts):
    for text in texts:
        before = page.locator("#history button").count()
        page.fill("#q", text)
        page.press("#q", "Enter")
        wait(page, f"document.querySelectorAll('#history button').length > {before}")
    settled(page)


def settled(page):
    wait(page, "!document.querySelector('#results').hasAttribute('aria-busy')")


def state(page):
    return page.inner_text("#state")


def test_an_empty_history_shows_what_is_popular(page, served):
    assert state(page) == "The history is empty, so the most popular items are shown."
    popular = [item["name"] for item in served.get("/items?limit=12").json["items"]]
    assert page.locator("#popular button").all_inner_texts() == popular
    assert page.locator("#merged .name").all_inner_texts()[:12] == popular
    assert page.locator("#parts").is_hidden()
    assert page.inner_text("#heading") == "Most popular"
    assert page.locator("#clear").is_disabled()


def test_a_history_shows_interests_what_feeds_them_and_what_they_recall(page, served):
    tokens = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]
    pick(page, *tokens)
    question = {"history": tokens, "n": 20, "per_interest": True, "names": True}
    recalled, said = served.post("/recall", question).json, served.post("/interests", {"history": tokens}).json
    K = len(said["vectors"])
    assert state(page) == f"{K} interests in 8 items."
    assert page.locator("#merged .name").all_inner_texts() == recalled["names"]
    marks = page.locator("#merged .mark")
    assert marks.all_inner_texts() == [str(k + 1) for k in recalled["interests"]]
    cards = page.locator("#interests .card")
    assert cards.count() == K > 1
    for k in range(K):
        card = cards.nth(k)
        assert card.locator("h3").inner_text() == f"Interest {k + 1}"
        weights = sorted(zip(said["weights"][k], tokens, strict=True), key=lambda pair: -pair[0])
        fed = card.locator("ol").first.locator(".name").all_inner_texts()
        assert fed[0] == f"Thing number {weights[0][1][1:]}"
        assert card.locator(".bar i").first.evaluate("node => node.style.width") == "100%"
        assert card.locator(".two .name").all_inner_texts() == recalled["by_interest"][k]["names"][:8]
    colours = {
        marks.nth(i).inner_text(): marks.nth(i).evaluate("node => getComputedStyle(node, '::before').backgroundColor")
        for i in range(marks.count())
    }
    assert len(set(colours.values())) == len(colours)


def test_it_works_by_keyboard_alone(page):
    page.focus("#q")
    page.keyboard.type("number 1")
    page.wait_for_selector("#found li")
    options = page.locator("#found li span").all_inner_texts()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    chosen = page.get_attribute("#q", "aria-activedescendant")
    assert page.get_attribute(f"#{chosen}", "aria-selected") == "true"
    page.keyboard.press("Enter")
    page.wait_for_selector("#history button")
    assert options[1].startswith(page.inner_text("#history button"))
    assert page.locator("#found").is_hidden()
    page.keyboard.type("50")
    page.wait_for_selector("#found li")
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden()
    page.fill("#q", "")
    page.focus("#history button")
    page.keyboard.press("Enter")  # takes it away again
    settled(page)
    assert page.locator("#history button").count() == 0
    assert page.evaluate("document.activeElement.id") == "q"


def test_what_is_unknown_or_not_read_is_said(page):
    pick(page, "nobody")
    assert state(page) == "This item is not in the catalogue, so the most popular items are shown."
    page.fill("#q", "x, y")
    page.press("#q", "Enter")
    wait(page, "document.querySelectorAll('#history button').length === 3")
    settled(page)
    assert state(page) == "None of these items is in the catalogue, so the most popular items are shown."
    page.click("#clear")
    page.fill("#q", ",".join(["i20", "zz", *(f"i{i}" for i in range(1, 12))]))
    page.press("#q", "Enter")
    wait(page, "document.querySelectorAll('#history button').length === 13")
    settled(page)
    assert "in 13 items. One is not in the catalogue. The model reads the last 10." in state(page)
    shown = page.locator("#history button").all_inner_texts()
    assert [text.rpartition(", ")[2] for text in shown[:3]] == ["not read"] * 3
    assert not any(", " in text for text in shown[3:])


def test_a_history_stands_in_the_address_and_names_are_no_markup(page, served):
    pick(page, "i50", "i1")
    assert page.url.endswith("#i50,i1")
    page.reload()
    page.wait_for_selector("#interests .card")
    assert page.locator("#history button").first.inner_text() == "<img src=x onerror=alert(1)>"
    assert page.locator("img").count() == 0
    page.goto(f"{served.url}/#%E0%A4%A")  # no text at all
    page.reload()
    page.wait_for_selector("#merged li")
    assert page.locator("#history button").count() == 0


def test_options_change_what_is_recalled(page, served):
    pick(page, "i1", "i3")
    page.select_option("#n", "10")
    for without in (True, False):
        question = {"history": ["i1", "i3"], "n": 10, "exclude_seen": without, "names": True}
        wanted = served.post("/recall", question).json["names"]
        assert {"Thing number 1", "Thing number 3"}.isdisjoint(wanted) == without
        until(lambda wanted=wanted: page.locator("#merged .name").all_inner_texts() == wanted)
        page.uncheck("#seen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_can_be_read(browser, served, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(1000 * HANG)
    page.goto(f"{served.url}/#i1,i3,i5,i8,nobody")
    page.wait_for_selector("#interests .card")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 30)"
    assert dark == (scheme == "dark")
    page.goto(f"{served.url}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_a_fault_is_said_and_can_be_tried_again(page):
    page.route("**/recall", lambda route: route.abort())
    page.click("#popular button >> nth=0")
    page.wait_for_selector("#state.bad")
    assert "The service cannot be reached." in state(page)
    assert page.locator("#results").is_hidden()
    page.unroute("**/recall")
    busy = '{"error": {"type": "overloaded", "message": "m", "field": null}}'
    page.route("**/recall", lambda route: route.fulfill(status=503, body=busy, content_type="application/json"))
    page.click("#state button")
    wait(page, "document.querySelector('#state').innerText.includes('The service is busy.')")
    page.unroute("**/recall")
    page.click("#state button")
    page.wait_for_selector("#interests .card")
    assert state(page) == "1 interest in 1 item."


def test_a_slow_answer_is_waited_for_and_an_overtaken_one_dropped(page):
    held = []
    page.route("**/recall", lambda route: route.continue_() if held else held.append(route))
    page.click("#popular button >> nth=0")
    wait(page, "document.querySelector('#state').innerText === 'Recalling …'")
    page.click("#popular button >> nth=1")
    wait(page, "document.querySelector('#state').innerText.includes('in 2 items')")
    held[0].continue_()
    page.wait_for_timeout(200)
    assert "in 2 items" in state(page)


def test_a_visitor_has_one_of_several_channels(browser, two_bundles, tmp_path):
    channels = dict(zip(("mind", "ytdnn"), two_bundles, strict=True))
    with running(None, channels=channels, assignment_key=tmp_path / "key") as served:
        page = browser.new_page()
        page.set_default_timeout(1000 * HANG)
        asked = []
        page.on("request", lambda request: asked.append(request.post_data_json) if request.post_data else None)
        page.goto(served.url)
        page.wait_for_selector("#merged li")
        about = page.inner_text("#about")
        for number in range(1, 4):
            page.click(f"#popular button >> nth={number}")
            settled(page)
        assert len({question["user"] for question in asked}) == 1
        channel = served.post("/recall", {"history": [], "user": asked[0]["user"]}).json["channel"]
        assert about.startswith(f"Channel {channel}. MIND on small")
        assert served.get("/version").json["channels"][channel]["bundle"][:12] in about
        assert page.inner_text("#about") == about
        page.close()


def test_the_key_is_asked_for(browser, two_bundles):
    with running(two_bundles[0], api_key=KEY) as served:
        page = browser.new_page()
        page.set_default_timeout(1000 * HANG)
        page.goto(served.url)
        page.wait_for_selector("#secret", state="visible")
        assert state(page).startswith("The service asks for its key.")
        for key, words in (("wrong", "This is not the key."), (KEY, "The history is empty")):
            page.fill("#secret", key)
            page.press("#secret", "Enter")
            wait(page, f"document.querySelector('#state').innerText.startsWith('{words}')")
        assert page.locator("#key").is_hidden()
        page.close()


def test_a_model_without_interests_shows_what_it_recalls(browser, small, tmp_path):
    bundle = exported(trained_classic(tmp_path, small, "ItemKNN"), tmp_path / "bundle")
    with running(bundle) as service:
        page, faults = browser.new_page(), []
        page.set_default_timeout(1000 * HANG)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(service.url)
        page.wait_for_selector("#merged li")
        assert state(page) == "The history is empty, so the most popular items are shown."
        pick(page, "i1", "i2")
        assert state(page) == "Recalled from 2 items."
        assert not page.is_visible("#parts")
        wanted = service.post("/recall", {"history": ["i1", "i2"], "n": 20}).json
        assert page.locator("#merged li").count() == len(wanted["items"])
        assert page.locator("#merged .mark").count() == 0
        assert page.inner_text("#how") == "Each item with its score."
        page.close()
        assert faults == []
