"""Pretrained folders: a model's files, from a local folder or from the hub.

For sources see :mod:`ssr_plugin.sources`. Nothing here runs code that came with a
model.
"""

import functools
import hashlib
import os
import pathlib
import re
import zlib

import huggingface_hub
from transformers import AutoConfig

from ssr_plugin.files import file_identity
from ssr_plugin.json_files import check_form, parse_json, read_json
from ssr_plugin.sources import NOT_FOUND_ERRORS, address

# Options that say how large something is.
_SIZES = re.compile("layers|width|size|heads|stack|strides|channels|rank|dim")
# A fingerprint reads so many bytes at each of so many positions of a weight file.
_SAMPLE_BYTES = 1 << 14
_SAMPLES = 64
# What a fingerprint of all bytes begins with, and how many it reads at once.
_WHOLE = "2-"
_CHUNK_BYTES = 1 << 23
_TOKENIZER_FILES = {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"}


def load_config(source):
    """A model's configuration.

    Arguments
    ---------
    source : str
        Hub id or folder.

    Returns
    -------
    transformers.PretrainedConfig

    Raises
    ------
    ValueError
        If there is no such folder and no such model, or the folder has no
        ``config.json``, or the installed transformers does not know the model.

    Example
    -------
    >>> load_config("/no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: '/no/such/folder' is neither a folder on this machine nor ...
    """
    folder = pathlib.Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(
            f"folder '{source}' has no config.json: give a folder that holds a "
            f"Hugging Face model (config.json and weights), or a hub id"
        )
    if folder.is_dir():
        check_regular(folder)
    try:
        return AutoConfig.from_pretrained(**address(source), trust_remote_code=False)
    except (OSError, ValueError) as error:
        if folder.is_dir():
            raise ValueError(
                f"cannot read {folder / 'config.json'}: {error}"
            ) from error
        raise ValueError(
            f"'{source}' is neither a folder on this machine nor a model that the "
            f"Hugging Face hub or its local cache gives: {error}"
        ) from error


def find_file(source, name):
    """The path of one of a model's files; downloads it if it is not there.

    Arguments
    ---------
    source : str
        Hub id or folder.
    name : str
        Path inside the model's folder.

    Returns
    -------
    pathlib.Path or None
        ``None`` if the model has no such file.

    Example
    -------
    >>> tmp = getfixture("tmp_path")
    >>> _ = (tmp / "config.json").write_text("{}")
    >>> find_file(tmp, "config.json").name, find_file(tmp, "model.safetensors")
    ('config.json', None)
    """
    if pathlib.Path(source).is_dir():
        path = pathlib.Path(source) / name
        return path if path.is_file() else None
    location = address(source)
    try:
        path = huggingface_hub.hf_hub_download(
            location["pretrained_model_name_or_path"],
            name,
            revision=location.get("revision"),
        )
        return pathlib.Path(path)
    except NOT_FOUND_ERRORS:
        return None


def safetensors_map(source):
    """Which safetensors file holds which tensor, without reading any tensor.

    Arguments
    ---------
    source : str
        Hub id or folder.

    Returns
    -------
    dict or None
        Tensor name -> file name; ``None`` if the model has no safetensors.

    Raises
    ------
    ValueError
        If the index or the weights are damaged, or of another format.
    """
    index = find_file(source, "model.safetensors.index.json")
    if index is not None:
        try:
            # transformers wants metadata, too.
            form = {"metadata": dict, "weight_map": {str: str}}
            files = read_json(index, form)["weight_map"]
            for file in files.values():
                if pathlib.PurePath(file).name != file:
                    raise ValueError(f"it names {file!r}, which is no file beside it")
            return files
        except ValueError as error:
            raise ValueError(f"{index} is no index of safetensors: {error}") from error
    path = find_file(source, "model.safetensors")
    if path is None:
        return None
    return dict.fromkeys(safetensors_shapes(path), path.name)


def check_weights(source, whole=True):
    """Refuses a model whose weights are a pickle, or not there.

    To load a pickle may run what is in it. Where the user trusts it, the environment
    variable ``SSR_ALLOW_PICKLE=1`` says so; then torch reads tensors alone of it.

    Arguments
    ---------
    source : str
        Hub id or folder.
    whole : bool
        Whether all files that its index names must be there.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_weights(getfixture("tiny_llm_folder"))
    >>> _ = (getfixture("tmp_path") / "pytorch_model.bin").write_bytes(b"")
    >>> check_weights(getfixture("tmp_path"))
    Traceback (most recent call last):
        ...
    ValueError: the weights of '...' are no safetensors: a pickle may hold code. ...
    """
    files = safetensors_map(source)
    if files is None:
        if os.environ.get("SSR_ALLOW_PICKLE") == "1":
            return
        folder = pathlib.Path(source)
        if folder.is_dir() and not any(folder.glob("pytorch_model*.bin*")):
            raise ValueError(f"'{source}' has no weights (model.safetensors)")
        raise ValueError(
            f"the weights of '{source}' are no safetensors: a pickle may hold code. "
            f"Save the model with save_pretrained, which writes safetensors; or set "
            f"the environment variable SSR_ALLOW_PICKLE=1 if you trust it"
        )
    if whole and pathlib.Path(source).is_dir():
        missing = {x for x in files.values() if find_file(source, x) is None}
        if missing:
            raise ValueError(f"'{source}' lacks {min(missing)}, which its index names")


def check_regular(folder):
    """Refuses a folder with pipes or devices in it: to open one may take for ever.

    Arguments
    ---------
    folder : path-like
        Of a model.

    Raises
    ------
    ValueError

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "config.json").write_text("{}")
    >>> check_regular(folder)
    """
    for path in pathlib.Path(folder).iterdir():
        # A link to nowhere is a file that is missing.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is no regular file: move it away")


def check_sizes(options, path):
    """Refuses options that ask for more than the weights can fill.

    It is found out before any memory is taken: a number of layers is at most that of
    the tensors, any other size at most the longest side of one.

    Arguments
    ---------
    options : dict
        Of a component.
    path : path-like
        Its weights, in safetensors.

    Raises
    ------
    ValueError
        If an option is too large, or the weights are damaged.

    Example
    -------
    >>> import torch
    >>> from safetensors.torch import save_file
    >>> path = getfixture("tmp_path") / "weights.safetensors"
    >>> save_file({"a": torch.zeros(4, 8), "b": torch.zeros(8)}, path)
    >>> check_sizes({"num_layers": 2, "width": 8, "dropout": 0.1}, path)
    >>> check_sizes({"num_layers": 3}, path)
    Traceback (most recent call last):
        ...
    ValueError: num_layers is 3, and the weights in '...' can fill 2 at most
    """
    shapes = safetensors_shapes(path).values()
    longest = max((side for shape in shapes for side in shape), default=0)
    for name, value in options.items():
        limit = len(shapes) if "layers" in name else longest
        for size in value if isinstance(value, list | tuple) else [value]:
            is_size = _SIZES.search(name) and type(size) is int
            if is_size and size > limit:
                raise ValueError(
                    f"{name} is {size}, and the weights in '{path}' can fill {limit} "
                    f"at most"
                )


def safetensors_shapes(path):
    """Shapes of the tensors in a safetensors file, by name, without reading any.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        header = parse_json(safetensors_header(path), dict)
        header.pop("__metadata__", None)
        check_form(header, {str: {"shape": [int]}})
        return {name: entry["shape"] for name, entry in header.items()}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def safetensors_header(path):
    """The header of a safetensors file, as bytes of JSON.

    Raises
    ------
    ValueError
        If the file is cut short or is no safetensors file.
    """
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(min(size, 1 << 28))
    if len(header) != size or not header.startswith(b"{"):
        raise ValueError(f"{path} is damaged, or no safetensors file: get it again")
    return header


def matches(mark, source):
    """Whether a model is the one that was marked, by this version or an earlier one.

    Arguments
    ---------
    mark : str
        Of :func:`fingerprint` or :func:`whole_fingerprint`.
    source : str
        Hub id or folder.

    Returns
    -------
    bool

    Example
    -------
    >>> folder = getfixture("tiny_llm_folder")
    >>> matches(whole_fingerprint(folder), folder), matches(fingerprint(folder), folder)
    (True, True)
    >>> matches("2-0123456789abcdef", folder)
    False
    """
    is_whole = str(mark).startswith(_WHOLE)
    return mark == (whole_fingerprint(source) if is_whole else fingerprint(source))


def whole_fingerprint(source):
    """A short name for all that makes an LLM what it is, its tokenizer too.

    All bytes count: an LLM whose weights differ in a corner would read vectors that
    were made for the other.

    Arguments
    ---------
    source : str
        Hub id or folder.

    Returns
    -------
    str
        "2-" and 16 hex digits.
    """
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(_model_files(source) | _TOKENIZER_FILES):
        path = find_file(source, name)
        if path is not None:
            # By time of change: several components ask for the same model.
            hashed.update(f"{name} {_checksums(*file_identity(path))}\n".encode())
    return _WHOLE + hashed.hexdigest()


@functools.lru_cache
def _checksums(path, size, changed):
    """Size and checksums of a file's parts; three times as fast as a digest."""
    del changed
    sums = []
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sums.append(zlib.crc32(chunk))
    return f"{size} {sums}"


def _model_files(source):
    """Names of files that a model may be made of, besides its tokenizer."""
    names = {"config.json", "preprocessor_config.json", "pytorch_model.bin"}
    # transformers applies adapters that lie beside the weights.
    names |= {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}
    return names | set((safetensors_map(source) or {}).values())


def fingerprint(source):
    """A short name for a model's weights and settings, whatever its folder is called.

    It is made of the weights' sizes, headers and samples of their bytes, and names
    stored features: it stays what it was.

    Arguments
    ---------
    source : str
        Hub id or folder.

    Returns
    -------
    str
        16 hex digits.
    """
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(_model_files(source)):
        path = find_file(source, name)
        if path is None:
            continue
        size = path.stat().st_size
        hashed.update(f"{name} {size}\n".encode())
        if path.suffix == ".safetensors":
            hashed.update(safetensors_header(path))
        with open(path, "rb") as file:
            for i in range(_SAMPLES):
                file.seek(max(size - _SAMPLE_BYTES, 0) * i // (_SAMPLES - 1))
                hashed.update(file.read(_SAMPLE_BYTES))
    return hashed.hexdigest()
