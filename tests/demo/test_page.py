"""The page: served, asked by programs, and used in a browser."""

import http.client
import json
import os
import pathlib
import shutil
import sys
import threading
import urllib.parse

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.demo import page as page_module
from ssr_plugin.demo.page import Example, Session, import_gradio, serve_page
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
    """A model whose LLM writes something else for each recording."""
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in lm.model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    # It writes as much as it may.
    lm.model.generation_config.eos_token_id = None
    return lm


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
def running(lm, wavs):
    """A running page, and its address."""
    pytest.importorskip("gradio")
    with serve_page(
        lm,
        Limits(max_seconds=3, max_megabytes=0.3, max_new_tokens=12),
        aligner=EvenAligner(),
        examples=[Example(wavs["short"], "the cat")],
    ) as page_and_address:
        yield page_and_address


@pytest.fixture(scope="module")
def served(running):
    """Address of a running page."""
    return running[1]


@pytest.fixture(scope="module")
def people(served):
    """Two people at the page, as programs."""
    client = pytest.importorskip("gradio_client")
    made = [client.Client(served, verbose=False) for _ in range(2)]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def session(lm, wavs):
    return Session(lm, Limits(max_new_tokens=4), wavs["short"].parent)


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


def test_two_people_at_once_do_not_mix_and_answers_come_piece_by_piece(
    lm, wavs, people
):
    expected = {name: generated(lm, wavs[name], " saw") for name in ("short", "long")}
    assert expected["short"] != expected["long"]
    got = {}

    def use(name, client):
        heard = listen(client, wavs[name], "the cat")
        got[name] = heard, ask(client, "predicted", "saw")

    pairs = zip(expected, people, strict=True)
    threads = [threading.Thread(target=use, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for name, seconds in (("short", "1.0 s"), ("long", "2.0 s")):
        (times, readings, timeline, *_), outputs = got[name]
        assert f"{seconds} of audio" in times and "forced segments" in readings
        assert timeline.count("<rect") > 2
        texts = [text_of(answers[-1]) for answers, _ in outputs]
        assert texts[-1] == expected[name] and len(set(texts)) > 2
        assert "first token after" in outputs[-1][1]


def test_a_bad_file_is_told_and_the_next_is_heard(wavs, people):
    for name, told in (("bad", "bad.wav"), ("too_long", "longer than 3 s")):
        problem, *nothing = listen(people[0], wavs[name])
        assert told in problem and str(wavs[name].parent) not in problem
        assert nothing[:2] == ["", ""]
    assert "1.0 s of audio" in listen(people[0], wavs["short"])[0]


# --- Without a server ----------------------------------------------------------------


def test_what_cannot_be_asked_is_told(session, wavs):
    heard = session.hear(str(wavs["short"]), "")
    for arguments, told in (
        ((None, "predicted", "saw", 9), "press Listen first"),
        ((heard, "forced", "saw", 9), "cannot be read as 'forced'"),
        ((heard, "predicted", "saw" * 400, 9), "takes 1000"),
    ):
        with pytest.raises(ValueError, match=told):
            next(session.ask(*arguments))
    assert "no recording yet" in session.hear(None, None)
    assert "takes 2000" in session.hear(str(wavs["short"]), "a" * 2001)


def test_no_more_is_written_than_the_limit_whoever_asks(session, wavs):
    heard = session.hear(str(wavs["short"]), "")
    for asked, written in ((900, 4), (3, 3), (-1, 1)):
        *_, (_, told) = session.ask(heard, "predicted", "saw", asked)
        assert f"; {written} tokens in" in told


def test_an_error_of_ours_shows_no_paths(session, wavs, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(page_module, "hear", fail)
    problem = session.hear(str(wavs["short"]), "")
    assert "secret" not in problem and "secret" in caplog.text


def test_a_prompt_without_a_place_for_speech_is_refused(lm):
    with pytest.raises(ValueError, match="must have {audio} once"):
        Session(lm, Limits(), "uploads", template="{question}")


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[demo\]"):
        import_gradio()


def test_uploads_go_to_a_folder_of_their_own_that_is_deleted(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/elsewhere")
    with page_module._upload_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == folder
        assert os.stat(folder).st_mode & 0o077 == 0
    assert os.environ["GRADIO_TEMP_DIR"] == "/elsewhere" and not os.path.exists(folder)


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


def test_old_uploads_are_deleted_and_examples_are_not(running, wavs):
    from gradio.route_utils import delete_files_created_by_app

    page, address = running
    _, answer = upload(address, wavs["long"].read_bytes(), "old.wav")
    (path,) = map(pathlib.Path, json.loads(answer))
    assert path.exists() and page.delete_cache == (600, 3600)
    delete_files_created_by_app(page, -1)
    left = {x.name for x in path.parents[1].rglob("*.wav")}
    assert left == {"short.wav"}


def test_a_file_that_is_too_large_is_not_kept(served):
    assert upload(served, bytes(400_000))[0] == 413


# --- In a browser --------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(served):
    """The page in Chromium, the addresses that it asked for, and its errors."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = browser.new_page()
        asked, problems = [], []
        window.on("request", lambda request: asked.append(request.url))
        window.on(
            "console",
            lambda said: problems.append(said.text) if said.type == "error" else None,
        )
        window.goto(served)
        window.wait_for_selector("#listen")
        yield window, asked, problems
        browser.close()


# Notes what stands in the first answer, each time that something changes there.
WATCH = """() => {
    window.seen = [];
    const answers = document.querySelector("#answers");
    const look = () => {
        const turn = answers.querySelector("[data-testid=bot]");
        if (turn) window.seen.push(turn.innerText.trim());
    };
    new MutationObserver(look).observe(
        answers, {subtree: true, childList: true, characterData: true});
}"""


def test_a_person_takes_an_example_uploads_asks_and_sees_the_answer_come(
    lm, wavs, served, window
):
    window, asked, problems = window
    window.get_by_text("the cat", exact=True).first.click()
    window.wait_for_selector("#timeline svg rect")
    assert "1.0 s of audio" in window.locator("#times").inner_text()

    window.get_by_label("Clear").first.click()
    window.get_by_label("Upload file").first.click()
    window.locator("#speech input[type=file]").set_input_files(str(wavs["long"]))
    window.wait_for_selector("#speech audio", state="attached")
    window.locator("#transcript textarea").fill("the cat sat")
    window.locator("#listen").click()
    window.get_by_text("2.0 s of audio").wait_for()
    boxes = window.locator("#timeline svg rect").count()
    assert boxes == len(lm.embed(wavs["long"])) + 3
    assert window.locator("#similarity svg image").count() == 1

    expected = generated(lm, wavs["long"], " saw")
    window.locator("#question textarea, #question input").fill("saw")
    window.evaluate(WATCH)
    window.locator("#ask").click()
    window.wait_for_function("text => window.seen.at(-1) === text", arg=expected)
    seen = window.evaluate("window.seen")
    assert all(text == "…" or expected.startswith(text) for text in seen)

    # On a phone, what is wider scrolls inside its own box.
    window.set_viewport_size({"width": 390, "height": 844})
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    # Nothing came from elsewhere, and nothing went wrong.
    hosts = {urllib.parse.urlsplit(url).netloc for url in asked}
    assert hosts - {""} == {urllib.parse.urlsplit(served).netloc}
    assert not problems
