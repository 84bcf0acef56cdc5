"""Prepares VoxPopuli without training, to look at the manifests:

python recipes/voxpopuli/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.prepare_cli import prepare_command
from ssr_plugin.data.voxpopuli import VoxPopuli

if __name__ == "__main__":
    prepare_command(VoxPopuli)
