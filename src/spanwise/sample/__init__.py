"""A small hand-written data set: `train.json` and `dev.json`, in the nested SQuAD 2.0 layout."""
