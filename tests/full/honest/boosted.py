"""Files of xgboost and lightgbm: Boosters and scikit-learn wrappers, native formats and pickles."""
# ruff: noqa: N806  the names X and y are the field's own

import json
import pickle

import joblib
import lightgbm as lgb
import numpy as np
import xgboost as xgb
from honest.catalogue import SEED, Shelf
from sklearn import datasets
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PROTOCOLS = (2, 3, 4, 5)


def both_ways(shelf, models):
    """Write each model through pickle and through joblib."""
    for index, (name, model) in enumerate(models.items()):
        protocol = PROTOCOLS[index % 4]
        data = pickle.dumps(model, protocol=protocol)
        shelf.add(
            f"{name}.p{protocol}.pkl",
            f"{name}, pickle protocol {protocol}",
            lambda p, d=data: p.write_bytes(d),
        )
        compress = (0, 3, ("gzip", 3), ("lz4", 3))[index % 4]
        shelf.add(
            f"{name}.joblib",
            f"{name}, joblib, compress={compress}",
            lambda p, m=model, c=compress: joblib.dump(m, p, compress=c),
        )


def xgboost_files(folder):
    """Write xgboost models in every format that the library offers."""
    X, y = datasets.make_classification(60, 6, random_state=SEED % 999)
    small = {"n_estimators": 4, "max_depth": 2, "n_jobs": 1, "random_state": 0}
    classifier = xgb.XGBClassifier(**small).fit(X, y)
    booster = classifier.get_booster()
    models = {
        "XGBClassifier": classifier,
        "XGBRegressor": xgb.XGBRegressor(**small).fit(X, y * 1.5),
        "XGBRFClassifier": xgb.XGBRFClassifier(**small).fit(X, y),
        "XGBRFRegressor": xgb.XGBRFRegressor(**small).fit(X, y),
        "XGBRanker": xgb.XGBRanker(**small).fit(X, y, group=[30, 30]),
        "XGBClassifier-unfitted": xgb.XGBClassifier(),
        "gblinear": xgb.XGBRegressor(booster="gblinear", n_estimators=3).fit(X, y),
        "dart": xgb.XGBRegressor(booster="dart", n_estimators=3, n_jobs=1).fit(X, y),
        "early": xgb.XGBClassifier(early_stopping_rounds=2, eval_metric="auc", **small).fit(
            X, y, eval_set=[(X, y)], verbose=False
        ),
        "Booster": booster,
        "pipeline": make_pipeline(StandardScaler(), xgb.XGBClassifier(**small)).fit(X, y),
        "grid": GridSearchCV(xgb.XGBClassifier(**small), {"max_depth": [1, 2]}, cv=2).fit(X, y),
    }
    shelf = Shelf(folder, "xgboost")
    both_ways(shelf, models)
    shelf.add("model.json", "save_model, JSON", booster.save_model)
    shelf.add("model.ubj", "save_model, UBJSON", booster.save_model)
    shelf.add("wrapper.json", "save_model of the wrapper, JSON", classifier.save_model)
    shelf.add("dump.txt", "dump_model, text", booster.dump_model)
    shelf.add("config.json", "save_config", lambda p: p.write_text(booster.save_config()))
    shelf.add("linear.json", "save_model, gblinear, JSON", models["gblinear"].save_model)
    shelf.add("linear.ubj", "save_model, gblinear, UBJSON", models["gblinear"].save_model)
    return shelf


def lightgbm_files(folder):
    """Write lightgbm models in every format that the library offers."""
    X, y = datasets.make_classification(80, 6, random_state=SEED % 999)
    small = {"n_estimators": 4, "num_leaves": 4, "n_jobs": 1, "random_state": 0, "verbose": -1}
    classifier = lgb.LGBMClassifier(**small).fit(X, y)
    booster = classifier.booster_
    models = {
        "LGBMClassifier": classifier,
        "LGBMRegressor": lgb.LGBMRegressor(**small).fit(X, y * 1.5),
        "LGBMRanker": lgb.LGBMRanker(**small).fit(X, y, group=[40, 40]),
        "LGBMClassifier-many": lgb.LGBMClassifier(**small).fit(X, np.arange(80) % 3),
        "LGBMClassifier-unfitted": lgb.LGBMClassifier(),
        "dart": lgb.LGBMRegressor(boosting_type="dart", **small).fit(X, y),
        "early": lgb.LGBMClassifier(**small).fit(
            X, y, eval_set=[(X, y)], callbacks=[lgb.early_stopping(2, verbose=False)]
        ),
        "Booster": booster,
        "pipeline": make_pipeline(StandardScaler(), lgb.LGBMClassifier(**small)).fit(X, y),
        "grid": GridSearchCV(lgb.LGBMClassifier(**small), {"num_leaves": [3, 4]}, cv=2).fit(X, y),
    }
    shelf = Shelf(folder, "lightgbm")
    both_ways(shelf, models)
    shelf.add("model.txt", "save_model, text", lambda p: booster.save_model(str(p)))
    shelf.add("model.json", "dump_model, JSON", lambda p: p.write_text(json.dumps(booster.dump_model())))
    return shelf


def make(folder):
    """Write the family and return its shelves."""
    return [xgboost_files(folder), lightgbm_files(folder)]
