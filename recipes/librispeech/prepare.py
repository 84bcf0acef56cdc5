"""Prepares LibriSpeech without training, to look at the manifests:

python recipes/librispeech/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.librispeech import LibriSpeech
from ssr_plugin.data.prepare_cli import prepare_command

if __name__ == "__main__":
    prepare_command(LibriSpeech)
