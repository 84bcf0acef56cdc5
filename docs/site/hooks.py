"""What the site has beside docs/*.md, made when it is built.

- The order of the pages: that of ``docs/index.md``, a section for each heading.
- A page for each YAML of ``hparams``: its keys, defaults and comments.
- API pages: what users import, and all components that have a name, with their classes.
- A page for each file outside ``docs`` that a page links to, so that no link leads out
  of the site.
"""

import json
import pathlib
import posixpath
import re
import sys

from mkdocs.structure.files import File, InclusionLevel

PROJECT = pathlib.Path(__file__).parents[2]
# The docs are those of this code, whatever else is installed.
sys.path.insert(0, str(PROJECT))

from ssr_plugin import components  # noqa: E402
from ssr_plugin.hparams import plain_keys, read_yaml  # noqa: E402
from ssr_plugin.hparams_help import describe  # noqa: E402

INDEX = PROJECT / "docs" / "index.md"
YAMLS = sorted((PROJECT / "hparams").glob("*.yaml"))
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
_NAMED = re.compile(r"\[[\w/]+\.(?:md|ipynb)\](?=\(([^)#\s]+)(?:#[^)]*)?\))")
_ROW = re.compile(r"^\| \[[^\]]+\]\(([^)#]+)\)", re.MULTILINE)
_LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".json": "json"}

#: What users import: page, its title, modules.
API = {
    "use": (
        "A model in use",
        [
            "inference.speech_lm.SpeechLM",
            "inference.speech",
            "inference.growing_prompt",
            "inference.speech_stream",
            "inference.speech_files",
            "inference.vllm_export",
            "data.audio",
        ],
    ),
    "parts": (
        "Encoder, LLM and the parts between",
        ["build", "encoders.encoder", "llm.text_llm", "llm.tokens", "registry"],
    ),
    "metrics": (
        "Figures and pictures",
        [
            "metrics.wer",
            "metrics.intervals",
            "metrics.vector_metrics",
            "metrics.speech_lm_metrics",
            "metrics.segmentation_metrics",
            "metrics.pictures",
            "metrics.curves",
        ],
    ),
}
#: The base classes of named components, by their table in the registry.
BASES = {
    "aligners": ["alignment.base", "alignment.record"],
    "segmenters": ["segmenters.base", "segmenters.trained", "recognizers.base"],
    "connectors": ["connectors.base"],
    "benchmarks": [
        "evaluation.harness.benchmark",
        "evaluation.harness.choice_benchmark",
        "evaluation.harness.measured_benchmark",
        "evaluation.harness.items",
    ],
    "conditions": ["evaluation.harness.condition"],
    "datasets": ["data.datasets"],
    "synthesizers": ["tts.synthesizers"],
}


# --- Order ----------------------------------------------------------------------------


def read_nav(text):
    """The sections of the index, and the pages that their tables name.

    Arguments
    ---------
    text : str
        Markdown; a section is a heading of the second level, a page a link that a row
        of a table begins with.

    Returns
    -------
    list of dict
        As ``nav`` of ``mkdocs.yml``.

    Example
    -------
    >>> read_nav("## Use\\n\\n| page |\\n|---|\\n| [use](use.md) |\\n\\n## Words\\n")
    [{'Use': ['use.md']}]
    """
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    sections = zip(parts[::2], map(_ROW.findall, parts[1::2]), strict=True)
    return [
        {title: [page_of(target, "docs") for target in targets]}
        for title, targets in sections
        if targets
    ]


def on_config(config):
    """Takes the order of the pages from the index."""
    keys, api = "hparams/index.md", "api/index.md"
    below = {
        keys: [keys, *(f"hparams/{path.name}.md" for path in YAMLS)],
        api: [api, *(f"api/{page}.md" for page in (*API, *BASES))],
    }
    nav = read_nav(INDEX.read_text(encoding="utf-8"))
    for section in nav:
        for title, pages in section.items():
            section[title] = [
                {"Every key": below[keys]} if page == keys else page for page in pages
            ]
    config.nav = [{"Home": "index.md"}, *nav, {"API": below[api]}]
    return config


# --- Pages of files outside docs/ -----------------------------------------------------


def page_of(target, folder):
    """The site's page of a link's target.

    Arguments
    ---------
    target, folder : str
        The link, and the folder of the file that has it, below the project's top.

    Returns
    -------
    str
        Below ``docs``. A folder's is its index; a page outside ``docs`` has the name of
        its path in small letters, any other file has ``.md`` added.

    Example
    -------
    >>> page_of("train.md", "docs"), page_of("../hparams", "docs")
    ('train.md', 'hparams/index.md')
    >>> page_of("../README.md", "recipes/ljspeech"), page_of("RESULTS.md", ".")
    ('recipes/readme.md', 'results.md')
    """
    path = posixpath.normpath(posixpath.join(folder, target))
    inside = path.removeprefix("docs/")
    if inside != path:
        return inside
    if (PROJECT / path).is_dir():
        return f"{path}/index.md"
    return path.lower() if path.endswith(".md") else f"{path}.md"


def map_links(markdown, change):
    """Markdown with each relative link's target changed, but in fenced blocks.

    Arguments
    ---------
    markdown : str
    change : function
        Of a target, without its anchor.

    Returns
    -------
    str

    Example
    -------
    >>> map_links("[a](a.md#b) [c](https://c) [d](#d)", str.upper)
    '[a](A.MD#b) [c](https://c) [d](#d)'
    """

    return _outside_fences(
        markdown, _LINK, lambda match: change(match[1]) + (match[2] or "")
    )


def _outside_fences(markdown, pattern, replacement):
    pieces, last = [], 0
    for fence in _FENCE.finditer(markdown):
        pieces += [pattern.sub(replacement, markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*pieces, pattern.sub(replacement, markdown[last:])])


def _links(markdown):
    found = []
    map_links(markdown, lambda target: found.append(target) or target)
    return found


def outside(pages):
    """The files outside ``docs`` that pages lead to, and those that these lead to.

    Arguments
    ---------
    pages : iterable of pathlib.Path

    Returns
    -------
    set of pathlib.Path
        Files; of a folder none.
    """
    found, todo = set(), list(pages)
    while todo:
        page = todo.pop()
        for target in _links(page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if not path.exists():
                raise ValueError(f"{page}: there is no {target}")
            more = sorted(path.glob("*.py")) if path == PROJECT / "examples" else [path]
            for path in more:
                if (PROJECT / "docs") in path.parents or path.is_dir():
                    continue
                if path not in found:
                    found.add(path)
                    todo += [path] * (path.suffix in (".md", ".ipynb"))
    return found


def page_text(path):
    """A file outside ``docs`` as a page.

    Arguments
    ---------
    path : pathlib.Path

    Returns
    -------
    str
        Markdown: a page as it is, a notebook's cells one after another, any other file
        as a block.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        return "\n\n".join(map(_cell_text, json.loads(text)["cells"]))
    name = path.relative_to(PROJECT).as_posix()
    language = _LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n`{name}`\n\n````{language}\n{text.rstrip()}\n````\n"


def _cell_text(cell):
    """A notebook's cell in Markdown."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return f"````python\n{source}\n````"


def _first_line(path):
    text = path.read_text(encoding="utf-8")
    return text.partition('"""')[2].partition("\n")[0].rstrip('."')


def _examples():
    rows = [
        f"| [{path.name}]({path.name}.md) | {_first_line(path)} |"
        for path in sorted((PROJECT / "examples").glob("*.py"))
    ]
    head = (
        "# Examples\n\nA script for each use.\n\n| script | what it does |\n|---|---|"
    )
    return "\n".join([head, *rows, ""])


# --- Keys of the YAMLs ----------------------------------------------------------------


def keys_page(path):
    """The keys of a YAML, of its own comments.

    Arguments
    ---------
    path : pathlib.Path

    Returns
    -------
    str
        Markdown.
    """
    text = read_yaml(path)
    head, sections = describe(text, plain_keys(text))
    lines = [f"# {path.name}", "", *_head_blocks(head)]
    for title, entries in sections:
        lines += ["", f"## {title or 'What to set first'}", ""]
        lines += ["| key | default | what it is |", "|---|---|---|"]
        for key, default, comment in entries:
            shown = f"`{_cell(default)}`" if default else ""
            lines.append(f"| `--{key}` | {shown} | {_cell(comment)} |")
    return "\n".join([*lines, ""])


def _head_blocks(head):
    """A YAML's first comment; its commands, each with a word before it, as a block."""
    lines = head.splitlines()
    commands = [i for i, line in enumerate(lines) if re.match(r"[^:]+:  +\S", line)]
    if not commands:
        return lines
    first, stop = commands[0], commands[-1] + 1
    while stop < len(lines) and lines[stop].startswith(" "):
        stop += 1
    block = ["", "```text", *lines[first:stop], "```", ""]
    return [*lines[:first], *block, *lines[stop:]]


def _cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text


def _keys_index(paths):
    rows = []
    for path in paths:
        text = read_yaml(path)
        head, _ = describe(text, plain_keys(text))
        sentence = re.split(r"(?<=[.:])\s", " ".join(head.split()), maxsplit=1)[0]
        rows.append(f"| [{path.name}]({path.name}.md) | {sentence} |")
    return "\n".join(
        [
            "# The keys of the YAMLs",
            "",
            "Each YAML names its keys and says what each does. These pages are made of",
            "its comments. Any key is overridden on the command line; `--help` after a",
            "YAML prints the same:",
            "",
            "```",
            "ssr train hparams/distill.yaml --help",
            "ssr train hparams/distill.yaml --number_of_epochs 50",
            "```",
            "",
            "| YAML | what it is for |",
            "|---|---|",
            *rows,
            "",
        ]
    )


# --- API ------------------------------------------------------------------------------


def api_pages():
    """The API pages.

    Returns
    -------
    dict of str -> str
        Path below ``docs`` -> Markdown.
    """
    pages = {}
    for page, (title, targets) in API.items():
        blocks = [f"::: ssr_plugin.{target}" for target in targets]
        pages[f"api/{page}.md"] = "\n\n".join([f"# {title}", *blocks, ""])
    for table, modules in BASES.items():
        pages[f"api/{table}.md"] = _component_page(table, modules)
    rows = [
        f"| [{page.rpartition('/')[2][:-3]}]({page.rpartition('/')[2]}) | "
        f"{text.partition(chr(10))[0][2:]} |"
        for page, text in pages.items()
    ]
    head = [
        "# API",
        "",
        "What users import, and what parts of your own are subclasses of. B is the",
        "batch, S samples, T frames, N tokens, D the encoder's width, H the LLM's.",
        "Examples are run by the tests. How the code is divided: [code](../code.md).",
        "",
        "| page | what |",
        "|---|---|",
    ]
    pages["api/index.md"] = "\n".join([*head, *rows, ""])
    return pages


def _component_page(table, modules):
    """Base classes, and each component of a table by the name that a YAML gives it."""
    targets = components._TARGETS[table]
    classes = {}
    for name, target in targets.items():
        path = f"ssr_plugin.{target.replace(':', '.')}"
        classes.setdefault(path, []).append(name)
    listed = {f"ssr_plugin.{module}" for module in modules}
    lines = [f"# {table.capitalize()}", "", "| name | class |", "|---|---|"]
    lines += [
        f"| {', '.join(f'`{name}`' for name in names)} | [`{path}`][{path}] |"
        for path, names in classes.items()
    ]
    lines += ["", *(f"::: ssr_plugin.{module}\n" for module in modules)]
    lines += [
        f"::: {path}\n" for path in classes if path.rpartition(".")[0] not in listed
    ]
    return "\n".join(lines)


# --- MkDocs ---------------------------------------------------------------------------


def on_files(files, config):
    """Adds the pages that are made."""
    docs = sorted((PROJECT / "docs").glob("*.md"))
    sources = {}
    for path in outside(docs):
        if path.parent != PROJECT / "hparams":
            name = path.relative_to(PROJECT).as_posix()
            sources[page_of(name, ".")] = (name, page_text(path))
    for path in YAMLS:
        name = f"hparams/{path.name}"
        sources[f"{name}.md"] = (name, keys_page(path))
    sources["hparams/index.md"] = ("docs/hparams/index.md", _keys_index(YAMLS))
    sources["examples/index.md"] = ("docs/examples/index.md", _examples())
    for page, text in api_pages().items():
        sources[page] = (f"docs/{page}", text)
    for page, (name, text) in sources.items():
        file = File.generated(config, page, content=text)
        # Else each page that stands nowhere in the order is a warning.
        file.inclusion = InclusionLevel.NOT_IN_NAV
        # Whence relative links of this page lead.
        file.made_of = name
        files.append(file)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to files of the project into links to pages; shows SVG for PNG."""
    del config
    name = getattr(page.file, "made_of", f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri)

    def change(target):
        found = page_of(target, posixpath.dirname(name) or ".")
        drawn = re.sub(r"\.png$", ".svg", found)
        if files.get_file_from_path(drawn) is not None:
            found = drawn
        return posixpath.relpath(found, here or ".")

    def entitle(match):
        path = PROJECT / posixpath.dirname(name) / match[1]
        return f"[{_title(path)}]" if path.suffix == ".md" else match[0]

    if name.startswith("docs/") and posixpath.dirname(name) != "docs":
        return markdown  # of a made page, whose links are the site's
    if page.file.src_uri == "faq.md":
        # Messages are of one long line, and are to be read without scrolling.
        markdown = markdown.replace("```text\n", "``` { .text .message }\n")
    return map_links(_outside_fences(markdown, _NAMED, entitle), change)


def _title(path):
    """A page's first heading, by which it is called where its file's name stood."""
    return re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1]
