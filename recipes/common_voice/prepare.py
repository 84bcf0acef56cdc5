"""Prepares Common Voice without training, to look at the manifests:

python recipes/common_voice/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.common_voice import CommonVoice
from ssr_plugin.data.prepare_cli import prepare_command

if __name__ == "__main__":
    prepare_command(CommonVoice)
