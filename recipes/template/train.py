"""Trains on a data set that the registry knows by name, such as any CSV file:

python recipes/template/train.py hparams/distill.yaml --dataset csv --data_folder FOLDER
"""

from ssr_plugin.training.run_training import main

if __name__ == "__main__":
    # For the data set that prepare.py describes: from prepare import MyDataSet, and
    # main(MyDataSet) here.
    main(None)
