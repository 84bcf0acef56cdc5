"""The page: served, asked by programs, and used in a browser."""

import http.client
import pathlib
import shutil
import threading
import urllib.parse

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.demo import page as page_module
from ssr_plugin.demo.page import Example, build_page, import_gradio, serve_page
from ssr_plugin.demo.uploads import Limits

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Debian's Chromium, as root and on a machine without a network.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.fixture(scope="module")
def wavs(tmp_path_factory, write_audio):
    """Two recordings of which one is longer, one that is too long, and no audio."""
    folder = tmp_path_factory.mktemp("wavs")
    lengths = {"short": 1.0, "long": 2.0, "too_long": 4.0}
    paths = {
        name: write_audio(folder / f"{name}.wav", seconds)
        for name, seconds in lengths.items()
    }
    paths["bad"] = folder / "bad.wav"
    paths["bad"].write_bytes(b"RIFF" + bytes(100))
    return paths


@pytest.fixture(scope="module")
def served(lm, wavs):
    """Address of a running page."""
    pytest.importorskip("gradio")
    with serve_page(
        lm,
        Limits(max_seconds=3, max_megabytes=0.3, max_new_tokens=12),
        aligner=EvenAligner(),
        examples=[Example(wavs["short"], "the cat")],
    ) as (_, address):
        yield address


@pytest.fixture(scope="module")
def connect(served):
    """``connect()``: one more person at the page."""
    client = pytest.importorskip("gradio_client")
    made = []

    def connect():
        made.append(client.Client(served, verbose=False))
        return made[-1]

    yield connect
    for each in made:
        each.close()


def listen(client, path, transcript=""):
    from gradio_client import handle_file

    return client.predict(handle_file(str(path)), transcript, api_name="/hear")


def ask(client, name, question, answers=()):
    job = client.submit(name, question, 12, list(answers), api_name="/ask")
    job.result(60)
    return job.outputs()


def text_of(turn):
    """What stands in a turn of the conversation, however Gradio writes it."""
    content = turn["content"]
    return content if isinstance(content, str) else content[0]["text"]


def generated(lm, path, question):
    contents = [pathlib.Path(path), question]
    return lm.generate(contents, max_new_tokens=12, do_sample=False)


# --- For programs --------------------------------------------------------------------


def test_an_answer_comes_piece_by_piece_and_is_that_of_generate(lm, wavs, connect):
    client = connect()
    times, readings, timeline, *_ = listen(client, wavs["short"], "the cat")
    assert "1.0 s of audio" in times and "forced segments" in readings
    assert timeline.count("<rect") > 2
    outputs = ask(client, "predicted", "saw")
    texts = [text_of(answers[-1]) for answers, _ in outputs]
    assert texts[-1] == generated(lm, wavs["short"], " saw")
    assert len(set(texts)) > 3 and "first token after" in outputs[-1][1]


def test_two_people_at_once_do_not_mix(lm, wavs, connect):
    people = {"short": connect(), "long": connect()}
    expected = {name: generated(lm, wavs[name], " saw") for name in people}
    assert expected["short"] != expected["long"]
    got = {}

    def use(name, client):
        heard = listen(client, wavs[name])
        outputs = ask(client, "predicted", "saw")
        got[name] = heard[0], text_of(outputs[-1][0][-1])

    threads = [threading.Thread(target=use, args=item) for item in people.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert "1.0 s of audio" in got["short"][0] and "2.0 s of audio" in got["long"][0]
    assert {name: text for name, (_, text) in got.items()} == expected
    # Somebody who comes later has nothing to ask about.
    assert "press Listen first" in ask(connect(), "predicted", "saw")[-1][1]


def test_a_bad_file_is_told_and_the_next_is_heard(wavs, connect, served):
    client = connect()
    for name, told in (("bad", "bad.wav"), ("too_long", "longer than 3 s")):
        problem, *nothing = listen(client, wavs[name])
        assert (
            told in problem
            and "problem" in problem
            and "/" not in problem.replace("</div>", "")
        )
        assert nothing[:3] == ["", "", ""]
        assert "press Listen first" in ask(client, "predicted", "saw")[-1][1]
    assert "1.0 s of audio" in listen(client, wavs["short"])[0]


def test_what_is_asked_for_too_much_or_cannot_be_is_told(wavs, connect):
    client = connect()
    listen(client, wavs["short"])
    assert "cannot be read as" in ask(client, "forced", "saw")[-1][1]
    assert "takes 1000" in ask(client, "predicted", "saw" * 400)[-1][1]
    # More tokens than the limit are not written, whoever asks for them.
    job = client.submit("predicted", "saw", 900, [], api_name="/ask")
    job.result(60)
    assert "; 12 tokens in" in job.outputs()[-1][1]


def test_an_error_of_ours_shows_no_paths(lm, wavs, monkeypatch, tmp_path, caplog):
    def fail(*_):
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(page_module, "hear", fail)
    session = page_module.Session(lm, Limits(), wavs["short"].parent)
    problem = session.hear(str(wavs["short"]), "")
    assert "secret" not in problem and "secret" in caplog.text


# --- What the server gives out -------------------------------------------------------


def fetch(served, path, body=None, headers=()):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(served).netloc)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    return response.status, response.read()


def upload(served, content, name="a.wav"):
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"'
    body = f"{head}\r\n\r\n".encode() + content + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    return fetch(served, "/gradio_api/upload", body, kind)


def test_uploads_are_given_back_and_nothing_else_is(served, wavs, tmp_path):
    import json

    status, answer = upload(served, wavs["short"].read_bytes(), "../../a.wav")
    (path,) = json.loads(answer)
    assert status == 200
    assert fetch(served, f"/gradio_api/file={path}") == (
        200,
        wavs["short"].read_bytes(),
    )
    folder = pathlib.Path(path).parents[1]
    assert not (folder.parent / "a.wav").exists()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for name in (
        secret,
        "/etc/passwd",
        pathlib.Path("setup.cfg").resolve(),
        "setup.cfg",
        f"{path}/../../../../../../..{secret}",
        f"{path}/..%2f..%2f..%2f..%2f..%2f..%2f..{secret}",
        "http://127.0.0.1:1/a",
        wavs["short"],
    ):
        status, answer = fetch(served, f"/gradio_api/file={name}")
        assert status in (403, 404) and b"secret" not in answer
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [file, ""], "fn_index": 0, "session_hash": "x"})
    kind = {"Content-Type": "application/json"}
    assert fetch(served, "/gradio_api/queue/join", body, kind)[0] == 403


def test_a_file_that_is_too_large_is_not_kept(served):
    assert upload(served, bytes(400_000))[0] == 413


def test_uploads_are_gone_with_the_page(lm, wavs, monkeypatch):
    pytest.importorskip("gradio")
    import os

    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with serve_page(lm, Limits(), examples=[Example(wavs["short"])]) as (_, address):
        folder = pathlib.Path(os.environ["GRADIO_TEMP_DIR"])
        upload(address, wavs["short"].read_bytes())
        assert len(list(folder.rglob("*.wav"))) == 2
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists() and "GRADIO_TEMP_DIR" not in os.environ


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[demo\]"):
        import_gradio()


def test_a_prompt_without_a_place_for_speech_is_refused(lm):
    pytest.importorskip("gradio")
    with pytest.raises(ValueError, match="must have {audio} once"):
        build_page(lm, template="{question}")


# --- In a browser --------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser_page(served):
    """``browser_page()``: the page in a new window; and all that it asked for."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        windows = []

        def open_page():
            window = browser.new_context().new_page()
            windows.append(window)
            asked, problems = [], []
            window.on("request", lambda request: asked.append(request.url))
            window.on(
                "console",
                lambda said: problems.append(said.text) if said.type == "error" else 0,
            )
            window.goto(served)
            window.wait_for_selector("#listen")
            return window, asked, problems

        yield open_page
        browser.close()


def test_a_person_uploads_listens_asks_and_sees_the_answer(
    lm, wavs, served, browser_page
):
    window, asked, problems = browser_page()
    window.get_by_label("Upload file").first.click()
    window.locator("#speech input[type=file]").set_input_files(str(wavs["long"]))
    window.wait_for_selector("#speech audio, #speech .waveform-container")
    window.locator("#transcript textarea").fill("the cat sat")
    window.locator("#listen").click()
    window.wait_for_selector("#timeline svg rect")
    boxes = window.locator("#timeline svg rect").count()
    assert boxes == len(lm.embed(wavs["long"])) + 3
    assert window.locator("#similarity svg image").count() == 1

    window.locator("#question input, #question textarea").fill("saw")
    expected = generated(lm, wavs["long"], " saw")
    # What stands there at each moment, as a person sees it come.
    window.evaluate(
        """() => {
            window.seen = [];
            const look = () => {
                const turns = document.querySelectorAll("#answers .bot .prose, "
                    + "#answers .bot [data-testid=bot]");
                if (turns.length) window.seen.push(turns[0].innerText.trim());
            };
            new MutationObserver(look).observe(document.querySelector("#answers"),
                {subtree: true, childList: true, characterData: true});
        }"""
    )
    window.locator("#ask").click()
    window.wait_for_function(
        "expected => document.querySelector('#answers').innerText.includes(expected)",
        arg=expected,
    )
    window.wait_for_selector("#pace .ssr")
    seen = window.evaluate("window.seen")
    assert seen and all(expected.startswith(text) for text in seen)
    assert {url.split("/")[2] for url in asked if "//" in url} == {
        urllib.parse.urlsplit(served).netloc
    }
    assert not problems


def test_an_example_is_heard_at_a_click_and_fits_a_phone(browser_page):
    window, _, problems = browser_page()
    window.set_viewport_size({"width": 390, "height": 844})
    window.get_by_text("the cat", exact=True).first.click()
    window.wait_for_selector("#timeline svg rect")
    assert window.locator("#transcript textarea").input_value() == "the cat"
    # What is wider scrolls inside its own box.
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    assert not problems
