"""The page itself, of Gradio's parts, and the server that shows it."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ssr_plugin.alignment.base import Aligner
from ssr_plugin.data.audio import AudioError
from ssr_plugin.demo import drawing
from ssr_plugin.demo.guard import Guard, named_files
from ssr_plugin.demo.hearing import (
    AUDIO,
    QUESTION,
    Heard,
    answer,
    available,
    check_template,
    compare,
    default_template,
    fill_prompt,
    hear,
)
from ssr_plugin.demo.uploads import Limits, read_upload
from ssr_plugin.inference.speech_lm import SpeechLM

logger = logging.getLogger(__name__)

# Uploads, and what was heard in them, are forgotten after so long, s.
_KEPT_SECONDS = 3600
# Letters of an example's name.
_LONGEST_NAME = 40

_FIRST = "Record something or drop a file, and press Listen. Or take an example."


@dataclasses.dataclass(frozen=True)
class Example:
    """A recording that the page offers.

    Arguments
    ---------
    path : path-like
    transcript : str
        May be empty.
    """

    path: str | os.PathLike[str]
    transcript: str = ""

    @property
    def name(self) -> str:
        """The beginning of what is said, or the name of the file."""
        text = self.transcript.lower() or pathlib.Path(self.path).name
        short = text[:_LONGEST_NAME].rsplit(" ", 1)[0]
        return text if len(text) <= _LONGEST_NAME else f"{short} …"


def import_gradio() -> Any:
    """Gradio, which nothing but this page needs.

    Raises
    ------
    ImportError
        With what to install.
    """
    # Before it is imported: it would ask its makers for news.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            "the page needs gradio: pip install ssr-plugin[demo]"
        ) from error
    return gradio


class Session:
    """What the page does, without its looks: each method is one event's.

    Nothing of one person is kept here: what was heard goes into Gradio's state, which
    each open page has for itself.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    limits : Limits
    uploads : path-like
        The folder whose files are read.
    aligner : ssr_plugin.alignment.base.Aligner or None
        For forced segments.
    template : str or None
        The prompt, with ``{audio}`` and ``{question}``; None takes what suits the LLM.
    """

    def __init__(
        self,
        lm: SpeechLM,
        limits: Limits,
        uploads: str | os.PathLike[str],
        aligner: Aligner | None = None,
        template: str | None = None,
    ) -> None:
        self.lm = lm
        self.limits = limits
        self.uploads = uploads
        self.aligner = aligner
        self.template = check_template(template or default_template(lm))

    def hear(self, path: str | None, transcript: str | None) -> Heard | str:
        """What is heard in an upload, or why it is not taken.

        Arguments
        ---------
        path : str or None
            As Gradio gives it; None if there is none.
        transcript : str or None

        Returns
        -------
        Heard or str
        """
        if not path:
            return (
                "there is no recording yet: record one, drop a file, or take an example"
            )
        try:
            begin = time.perf_counter()
            samples, rate = read_upload(path, self.limits, self.uploads)
            seconds = time.perf_counter() - begin
            text = self.limits.check_text(transcript or "", "the transcript")
            heard = hear(self.lm, samples, rate, text, self.aligner)
        except (AudioError, ValueError) as error:
            return str(error)
        except Exception:
            # One bad file must not show anybody this machine's paths.
            logger.exception("a recording could not be heard")
            return "this recording could not be heard; the server's log says why"
        return dataclasses.replace(heard, parts={"file": seconds, **heard.parts})

    def ask(
        self,
        heard: Heard | None,
        name: str | None,
        question: str | None,
        max_new_tokens: float,
    ) -> Generator[tuple[str, str]]:
        """What the LLM says, as it is written.

        Arguments
        ---------
        heard : Heard or None
        name : str or None
            Of the condition.
        question : str or None
        max_new_tokens : int

        Yields
        ------
        text : str
        told : str
            HTML: how long it took.

        Raises
        ------
        ValueError
            If it cannot be asked so; the message is for whoever asked.
        """
        if heard is None:
            raise ValueError("there is nothing to ask about yet: press Listen first")
        conditions = {condition.name: condition for condition in available(heard)}
        if name not in conditions:
            raise ValueError(f"this recording cannot be read as '{name}'")
        question = self.limits.check_text(question or "", "the question", share=0.5)
        most = int(min(max(max_new_tokens, 1), self.limits.max_new_tokens))
        contents = fill_prompt(
            self.lm, heard, conditions[name], self.template, question
        )
        for piece in answer(self.lm, contents, most):
            yield piece.text, drawing.show_pace(piece)

    def show(self, heard: Heard) -> dict[str, str]:
        """The pictures and tables of a recording, as HTML.

        Arguments
        ---------
        heard : Heard

        Returns
        -------
        dict
            "times", "readings", "timeline" and "similarity".
        """
        tokenizer = self.lm.llm.tokenizer
        return {
            "times": drawing.show_times(heard),
            "readings": drawing.show_readings(heard),
            "timeline": drawing.show_timeline(heard, tokenizer),
            "similarity": drawing.show_similarity(compare(self.lm, heard), tokenizer),
        }


def build_page(
    lm: SpeechLM,
    limits: Limits | None = None,
    aligner: Aligner | None = None,
    template: str | None = None,
    examples: Sequence[Example] = (),
) -> Any:
    """The page, as Gradio's blocks.

    :func:`launch_page` serves it with a guard before it. To put it into a server of
    your own, take these blocks, and the guard.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    limits : Limits or None
    aligner : ssr_plugin.alignment.base.Aligner or None
        Finds when a typed transcript was said; without one nothing is forced.
    template : str or None
        The prompt, with ``{audio}`` and ``{question}``; None takes what suits the LLM.
    examples : list of Example
        Recordings that are offered.

    Returns
    -------
    gradio.Blocks

    Raises
    ------
    ImportError
        If Gradio is not installed.
    ValueError
        If the prompt lacks a place.
    """
    gr = import_gradio()
    from gradio.utils import get_upload_folder

    limits = limits or Limits()
    session = Session(lm, limits, get_upload_folder(), aligner, template)
    with gr.Blocks(
        title="Speech, read by a text LLM",
        analytics_enabled=False,
        delete_cache=(600, _KEPT_SECONDS),
    ) as page:
        _Page(gr, session, examples)
    # One recording is heard, and one answer is written, at a time; the rest wait.
    page.queue(max_size=limits.max_waiting, default_concurrency_limit=1, api_open=False)
    return page


class _Page:
    """Lays the parts out, and says what happens when they are used."""

    def __init__(self, gr: Any, session: Session, examples: Sequence[Example]) -> None:
        self.gr = gr
        self.session = session
        limits = session.limits
        gr.HTML(_head(session.lm), padding=False)
        self.heard = gr.State(None, time_to_live=_KEPT_SECONDS)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.audio = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label=f"Speech: at most {limits.max_seconds:g} s, "
                    f"{limits.max_megabytes:g} MB",
                    buttons=[],
                    elem_id="speech",
                )
                self.transcript = gr.Textbox(
                    label="What is said, if you know it",
                    info="Then segments are cut with its help, too (forced), and "
                    "errors are counted.",
                    lines=2,
                    max_lines=4,
                    max_length=limits.max_characters,
                    elem_id="transcript",
                )
                self.listen = gr.Button("Listen", variant="primary", elem_id="listen")
                self.examples = self._add_examples(examples) if examples else None
            with gr.Column(scale=3, min_width=300):
                self.times = gr.HTML(drawing.show_hint(_FIRST), elem_id="times")
                self.readings = gr.HTML("", elem_id="readings")
        self.timeline = gr.HTML("", elem_id="timeline")
        # Shown once there is something to ask about.
        with gr.Column(visible=False) as self.more:
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300):
                    self._add_question()
                with gr.Column(scale=3, min_width=300):
                    gr.HTML(drawing.show_heading("What the LLM says"))
                    self.answers = gr.Chatbot(
                        show_label=False,
                        height=380,
                        render_markdown=False,
                        layout="panel",
                        buttons=[],
                        feedback_options=None,
                        elem_id="answers",
                    )
                    self.pace = gr.HTML("", elem_id="pace")
            gr.HTML(drawing.show_heading("How alike speech and text are to the LLM"))
            self.similarity = gr.HTML("", elem_id="similarity")
        self._connect()

    def _add_examples(self, examples: Sequence[Example]) -> Any:
        made = self.gr.Examples(
            [[str(example.path), example.transcript] for example in examples],
            inputs=[self.audio, self.transcript],
            example_labels=[example.name for example in examples],
            label="Examples",
            cache_examples=False,
            api_visibility="private",
        )
        # Gradio would delete its copies together with old uploads.
        copies = [*made.non_none_processed_examples.values(), *made.dataset.samples]
        self.audio.keep_in_cache.update(named_files(copies))
        return made

    def _add_question(self) -> None:
        gr, limits = self.gr, self.session.limits
        chats = self.session.lm.llm.tokenizer.chat_template is not None
        self.condition = gr.Radio(
            [], label="What the LLM is given as speech", elem_id="condition"
        )
        self.question = gr.Textbox(
            label="Question" if chats else "How the text goes on after the speech",
            info=_what_is_read(self.session.template, chats),
            value="What is said?" if chats else "then",
            max_length=limits.max_characters // 2,
            elem_id="question",
        )
        self.most = gr.Slider(
            1,
            limits.max_new_tokens,
            value=min(40, limits.max_new_tokens),
            step=1,
            label="Tokens at most",
        )
        with gr.Row():
            self.ask = gr.Button("Ask", variant="primary", elem_id="ask")
            self.stop = gr.Button("Stop", elem_id="stop")

    # --- Events ---------------------------------------------------------------------

    def _connect(self) -> None:
        gr = self.gr
        pictures = [self.times, self.readings, self.timeline, self.similarity]
        hearing: dict[str, Any] = {
            "fn": self._hear,
            "inputs": [self.audio, self.transcript],
            "outputs": [
                *(self.heard, *pictures, self.more, self.condition),
                *(self.answers, self.pace),
            ],
            # One at a time, whatever began it.
            "concurrency_id": "hear",
            "concurrency_limit": 1,
            "show_progress_on": [self.times],
        }
        begins = [self.listen.click, self.transcript.submit]
        gr.on(begins, **hearing, api_name="hear")
        if self.examples is not None:
            self.examples.load_input_event.then(**hearing, api_visibility="private")
        self.condition.change(
            _describe,
            [self.condition],
            [self.condition],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        asking = gr.on(
            [self.ask.click, self.question.submit],
            self._ask,
            [self.heard, self.condition, self.question, self.most, self.answers],
            [self.answers, self.pace],
            api_name="ask",
            concurrency_id="ask",
            concurrency_limit=1,
            # The answer itself shows it; a status would call what is stopped an error.
            show_progress="hidden",
        )
        self.stop.click(None, cancels=[asking], api_visibility="private")

    def _hear(self, path: str | None, transcript: str | None) -> list[Any]:
        heard = self.session.hear(path, transcript)
        update = self.gr.update
        if isinstance(heard, str):
            problem = drawing.show_problem(heard)
            nothing = update(choices=[], value=None)
            return [None, problem, "", "", "", update(visible=False), nothing, [], ""]
        shown = self.session.show(heard)
        conditions = available(heard)
        names = [condition.name for condition in conditions]
        best = next((x for x in ("predicted", "forced") if x in names), names[0])
        radio = update(choices=names, value=best, info=_title(best))
        pictures = [shown[x] for x in ("times", "readings", "timeline", "similarity")]
        return [heard, *pictures, update(visible=True), radio, [], ""]

    def _ask(
        self,
        heard: Heard | None,
        name: str | None,
        question: str | None,
        most: float,
        answers: list[Any] | None,
    ) -> Iterator[tuple[list[Any], str]]:
        answers = list(answers or [])
        asked = _turn("user", f"{name}: {(question or '').strip()}")
        text, told = "", ""
        try:
            with contextlib.closing(
                self.session.ask(heard, name, question, most)
            ) as pieces:
                # At once: that it was asked.
                yield [*answers, asked, _turn("assistant", "…")], told
                for text, told in pieces:
                    yield [*answers, asked, _turn("assistant", text or "…")], told
            if not text:
                yield [*answers, asked, _turn("assistant", "(nothing)")], told
        except ValueError as error:
            yield answers, drawing.show_problem(error)
        except Exception:
            logger.exception("a question could not be answered")
            message = "this could not be answered; the server's log says why"
            yield answers, drawing.show_problem(message)


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _title(name: str) -> str:
    from ssr_plugin.evaluation.harness.conditions import make_conditions

    (condition,) = make_conditions([name])
    return condition.title


def _describe(name: str | None) -> Any:
    return import_gradio().update(info=_title(name) if name else " ")


def _what_is_read(template: str, chats: bool) -> str:
    """What the LLM reads, in words."""
    text = template.replace(AUDIO, "⟨speech⟩").replace(QUESTION, "⟨this⟩")
    text = " ".join(text.split())
    turn = ", as your turn of a conversation" if chats else ""
    return f"The LLM reads {text}{turn}."


def _head(lm: SpeechLM) -> str:
    """What the page is, and what the model is made of; of paths only their ends."""
    segmenter = lm.settings["segmenter"]
    parts = {
        "encoder": _short(lm.encoder.source),
        "segmenter": segmenter["name"] if segmenter else "none for audio alone",
        "connector": lm.settings["connector"]["name"],
        "LLM": _short(lm.llm.source) + ("" if lm.tuned is None else ", tuned"),
        "on": str(lm.device),
    }
    told = " · ".join(f"{k}: <b>{drawing.escape(x)}</b>" for k, x in parts.items())
    return (
        f'<div class="ssr"><h2 style="margin:0">Speech, read by a text LLM</h2>'
        f"<div>Speech is cut into one segment for each token. A small connector turns "
        f"each into one vector, which the LLM reads in place of the token.</div>"
        f'<div class="dim">{told}</div></div>'
    )


def _short(source: object) -> str:
    path = pathlib.Path(str(source))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(source)


# --- The server ---------------------------------------------------------------------


@contextlib.contextmanager
def serve_page(
    lm: SpeechLM,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    **options: Any,
) -> Iterator[tuple[Any, str]]:
    """Serves the page while the block runs.

    Uploads go to a folder of their own, which nobody else can read, and which is
    deleted in the end.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    limits : Limits or None
    host : str
        "0.0.0.0" for all who reach this machine.
    port : int or None
        None takes the first that is free from 7860 on.
    open_browser : bool
        Whether a browser is opened.
    **options
        Of :func:`build_page`.

    Yields
    ------
    page : gradio.Blocks
        It runs; ``page.block_thread()`` waits for Ctrl-C.
    address : str

    Raises
    ------
    ImportError
        If Gradio is not installed.
    OSError
        If the port is taken.
    """
    gr = import_gradio()
    from starlette.middleware import Middleware

    limits = limits or Limits()
    with _upload_folder() as uploads:
        page = build_page(lm, limits, **options)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                # Neither Node's server, nor a notebook's frame, nor Gradio's footer.
                ssr_mode=False,
                inline=False,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=limits.max_bytes,
                allowed_paths=[],
                enable_monitoring=False,
                state_session_capacity=1000,
                theme=_theme(gr),
                css=drawing.STYLE,
                app_kwargs={"middleware": [Middleware(Guard, uploads=uploads)]},
            )
            yield page, address
        finally:
            page.close(verbose=False)


@contextlib.contextmanager
def _upload_folder() -> Iterator[str]:
    """A new folder for uploads, where Gradio will put them."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="ssr-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def _theme(gr: Any) -> Any:
    # Fonts that the machine has: none is fetched.
    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
