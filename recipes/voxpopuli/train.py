"""Trains on VoxPopuli: python recipes/voxpopuli/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import VoxPopuli

if __name__ == "__main__":
    main(VoxPopuli)
