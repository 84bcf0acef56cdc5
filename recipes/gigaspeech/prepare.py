"""Prepares GigaSpeech without training, to look at the manifests:

python recipes/gigaspeech/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.gigaspeech import GigaSpeech
from ssr_plugin.data.prepare_cli import prepare_command

if __name__ == "__main__":
    prepare_command(GigaSpeech)
