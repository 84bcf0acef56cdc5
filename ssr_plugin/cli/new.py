"""``ssr new``: a recipe's folder for one's own data set, to be edited."""

import json
import pathlib
import re
import shlex

SUMMARY = "write a recipe for a data set of your own, and say what to edit"
USAGE = """
  ssr new mydata
  ssr new recipes/birds --data /data/birds

The folder gets prepare.py (how the data are read), train.yaml (what is trained) and
train.py. As they are, they read recordings with a text file, train.txt, that has a line
for each: its file, a tab, what is said in it."""

# What comes from recipes/template.
_FILES = ("prepare.py", "train.yaml")
_TRAIN = '''"""Trains on {dataset}: python {folder}/train.py {folder}/train.yaml"""

from prepare import {dataset}

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main({dataset})
'''
# The list of the training data, in the data folder.
_LIST = "train.txt"


def add_arguments(parser):
    """Adds the arguments of the command."""
    parser.add_argument("folder", help="of the recipe; must not be there yet")
    parser.add_argument(
        "--data", metavar="FOLDER", help="where your recordings are, or will be"
    )


def run(options):
    """Writes the folder, and says what to do next."""
    from ssr_plugin import shipped

    folder = pathlib.Path(options.folder)
    if folder.exists():
        raise ValueError(f"'{folder}' is there already: name a new folder")
    name = folder.resolve().name
    dataset = class_name(name)
    data = pathlib.Path(options.data or f"{folder}/data")
    template = shipped.folder() / "recipes" / "template"
    replaced = {
        "recipes/template": folder.as_posix(),
        "MyDataSet": dataset,
        "results/mine": f"results/{name}",
    }
    texts = {one: (template / one).read_text(encoding="utf-8") for one in _FILES}
    texts["train.py"] = _TRAIN.format(dataset=dataset, folder=folder.as_posix())
    folder.mkdir(parents=True)
    for file, text in texts.items():
        for old, new in replaced.items():
            text = text.replace(old, new)
        if file == "train.yaml":
            # A double-quoted string of YAML is one of JSON.
            place = json.dumps(str(data), ensure_ascii=False)
            text = text.replace("data_folder: DATA_FOLDER", f"data_folder: {place}")
        (folder / file).write_text(text, encoding="utf-8")
    print("\n".join(next_steps(folder, data, name)))


def class_name(name):
    """What the class of a data set of that name is called.

    Arguments
    ---------
    name : str

    Returns
    -------
    str

    Example
    -------
    >>> class_name("my-data 2"), class_name("2nd try"), class_name("birds")
    ('MyData2', 'Data2ndTry', 'Birds')
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else f"Data{joined}"


def next_steps(folder, data, name):
    """What to do after the folder was written.

    Arguments
    ---------
    folder : pathlib.Path
        The recipe's.
    data : pathlib.Path
        Where the recordings are, or will be.
    name : str
        The recipe's.

    Returns
    -------
    list of str
        Lines.

    Example
    -------
    >>> path = pathlib.Path
    >>> next_steps(path("mydata"), path("mydata/data"), "mydata")[1]
    '1. Put your recordings into mydata/data, and there a file train.txt with a'
    """
    place, recordings = (shlex.quote(path.as_posix()) for path in (folder, data))
    model = shlex.quote(f"results/{name}")
    first = f"1. Put your recordings into {data}, and there a file {_LIST} with a"
    if (data / _LIST).is_file():
        first = f"1. {data / _LIST} is there. It must have a"
    return [
        f"{folder} is written. Next:",
        first,
        '   line for each, as "a1.wav<TAB>good morning".',
        f"   If your data lie otherwise, change utterances() in {folder}/prepare.py.",
        "2. See whether they are read as you mean it; bad lines are named:",
        f"   python {place}/prepare.py {recordings} {place}/manifests "
        "--max_skipped_share 1",
        f"3. Name your models in {folder}/train.yaml (as it is: the bundled sample's,",
        "   which are enough to see that all runs), and train:",
        f"   python {place}/train.py {place}/train.yaml",
        "4. Hear what it reads:",
        f"   ssr transcribe --model {model} a_new_recording.wav",
    ]
