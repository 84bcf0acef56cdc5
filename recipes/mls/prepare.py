"""Prepares Multilingual LibriSpeech without training, to look at the manifests:

python recipes/mls/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.mls import MultilingualLibriSpeech
from ssr_plugin.data.prepare_cli import prepare_command

if __name__ == "__main__":
    prepare_command(MultilingualLibriSpeech)
