"""Files of scikit-learn: every estimator, through pickle and joblib in every form that joblib can write."""
# ruff: noqa: N806  the names X and y are the field's own

import inspect
import pickle
import warnings
from functools import partial
from itertools import cycle

import joblib
import numpy as np
import scipy.sparse
import scipy.stats
import sklearn
from honest.catalogue import SEED, Shelf
from sklearn import compose, datasets, ensemble, feature_extraction, linear_model, model_selection, pipeline
from sklearn import preprocessing as prep
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401  they add classes
from sklearn.utils import all_estimators

TEXTS = [f"a short text about {word} and more words" for word in ("bread", "rivers", "bridges", "scales") * 6]
COMPRESSED = ("zlib", "gzip", "bz2", "xz", "lzma", "lz4")


def data():
    """Return the data sets an estimator is tried with, the commonest kind first."""
    rng = np.random.RandomState(SEED % 1000)
    X, y = datasets.make_classification(24, 5, random_state=1)
    positive = np.abs(X) + 0.1
    both = np.c_[y, 1 - y]
    words = [{"length": len(text), "first": text[0]} for text in TEXTS]
    return (
        (X, y),
        (positive, np.abs(y) + 1.5),
        (X, both),
        (X, X[:, :2]),
        (TEXTS, y),
        (words, y),
        (X[:, 0], y),
        (y, None),
        ([["a", "b"], ["c"]] * 12, None),
        (rng.rand(24, 24), y),
    )


def construct(cls):
    """Return an instance with cheap settings; None when a class needs more than this table knows."""
    tree, line = sklearn.tree.DecisionTreeClassifier(max_depth=2), linear_model.LogisticRegression()
    parts = [("one", prep.StandardScaler()), ("two", prep.MinMaxScaler())]
    models = [("tree", tree), ("line", line)]
    given = {
        "estimator": linear_model.Ridge() if "Regressor" in cls.__name__ else line,
        "estimators": [("a", linear_model.Ridge()), ("b", linear_model.Lasso())]
        if "Regressor" in cls.__name__
        else models,
        "param_grid": {"C": [0.5, 1.0]},
        "param_distributions": {"C": [0.5, 1.0, 2.0]},
        "transformers": [("scaled", prep.StandardScaler(), [0, 1]), ("kept", "passthrough", [2])],
        "transformer_list": parts,
        "steps": [parts[0], ("line", line)],
        "base_estimator": line,
        "dictionary": np.eye(5),
    }
    names = inspect.signature(cls).parameters
    wanted = {k: v for k, v in given.items() if k in names and names[k].default is inspect.Parameter.empty}
    small = {"n_estimators": 4, "random_state": 0, "max_iter": 20, "n_components": 2, "cv": 2, "n_iter": 2}
    fixed = {k: v for k, v in small.items() if k in names}
    try:
        return cls(**wanted, **fixed)
    except TypeError:
        return None


def fitted(model):
    """Return the model fitted on the first data set it takes, else as it is."""
    smaller = sklearn.base.clone(model)
    for name, value in (("n_components", 1), ("perplexity", 5)):
        if name in smaller.get_params():
            smaller.set_params(**{name: value})
    for candidate in (model, smaller):
        for X, y in data():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return sklearn.base.clone(candidate).fit(*((X,) if y is None else (X, y))), True
            except Exception:  # noqa: BLE001  an estimator says in many ways that this is not its data
                continue
    return model, False


def pickled(model, protocol):
    return lambda path: path.write_bytes(pickle.dumps(model, protocol=protocol))


def dumped(model, compress, protocol=None):
    return lambda path: joblib.dump(model, path, compress=compress, protocol=protocol)


def forms():
    """Return the endless row of forms in which estimators are written: (suffix, words, writer of a model)."""
    plain = [(f"p{p}.pkl", f"pickle protocol {p}", lambda m, p=p: pickled(m, p)) for p in (2, 3, 4, 5)]
    raw = ("joblib", "joblib, raw", lambda m: dumped(m, 0))
    packed = [
        (f"{kind}.joblib", f"joblib, {kind}", lambda m, k=kind: dumped(m, (k, 3))) for kind in COMPRESSED
    ]
    return cycle(plain), cycle([raw, packed[0], raw, packed[1], raw, *packed[2:]])


def estimators(shelf):
    """Write each estimator once through pickle and once through joblib."""
    by_pickle, by_joblib = forms()
    for name, cls in all_estimators():
        model = construct(cls)
        if model is None:
            shelf.skip(f"{name} needs arguments that the table does not have")
            continue
        model, ready = fitted(model)
        state = "fitted" if ready else "unfitted"
        for suffix, words, writer in (next(by_pickle), next(by_joblib)):
            shelf.add(f"{name}.{suffix}", f"{name}, {state}, {words}", writer(model))


def composed():
    """Return models as people build them: name → model, fitted."""
    X, y = datasets.make_classification(60, 6, random_state=2)
    T, v = TEXTS, [0, 1] * 12
    text = feature_extraction.text
    make = pipeline.make_pipeline
    split = compose.make_column_transformer(
        (prep.StandardScaler(), [0, 1]),
        (prep.KBinsDiscretizer(3, encode="ordinal"), [2, 3]),
        remainder="drop",
    )
    grid = {"logisticregression__C": [0.1, 1.0], "standardscaler__with_mean": [True, False]}
    union = pipeline.make_union(prep.StandardScaler(), sklearn.decomposition.PCA(2))
    logs = prep.FunctionTransformer(np.log1p, inverse_func=np.expm1, validate=True)
    return {
        "text-bayes": make(text.TfidfVectorizer(ngram_range=(1, 2)), sklearn.naive_bayes.MultinomialNB()).fit(
            T, v
        ),
        "text-hashing": make(text.HashingVectorizer(n_features=32), linear_model.SGDClassifier()).fit(T, v),
        "text-counts": make(text.CountVectorizer(stop_words="english"), text.TfidfTransformer()).fit(T),
        "columns": make(split, ensemble.RandomForestClassifier(5, random_state=0)).fit(X, y),
        "grid": model_selection.GridSearchCV(
            make(prep.StandardScaler(), linear_model.LogisticRegression()), grid, cv=2
        ).fit(X, y),
        "union": make(union, linear_model.Ridge()).fit(X, y),
        "logs": make(logs, linear_model.Lasso()).fit(np.abs(X), y),
        "calibrated": sklearn.calibration.CalibratedClassifierCV(sklearn.svm.LinearSVC(), cv=2).fit(X, y),
        "gaussian": sklearn.gaussian_process.GaussianProcessClassifier(
            1.0 * sklearn.gaussian_process.kernels.RBF(1.0) + sklearn.gaussian_process.kernels.WhiteKernel()
        ).fit(X, y),
        "haversine": sklearn.neighbors.KNeighborsClassifier(3, algorithm="ball_tree", metric="manhattan").fit(
            X, y
        ),
        "boosting-losses": [
            ensemble.GradientBoostingRegressor(n_estimators=3, loss=loss).fit(X, y)
            for loss in ("huber", "quantile")
        ],
        "histogram": ensemble.HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]).fit(
            np.c_[np.arange(60) % 4, X], y
        ),
        "stacked": ensemble.StackingClassifier(
            [("tree", sklearn.tree.DecisionTreeClassifier()), ("line", linear_model.LogisticRegression())],
            cv=2,
        ).fit(X, y),
        "regrouped": compose.TransformedTargetRegressor(
            linear_model.Ridge(), func=np.sqrt, inverse_func=np.square
        ).fit(X, np.abs(y)),
    }


def searched():
    """Return searches over distributions, scorers and helpers as people set them: name → model, fitted."""
    X, y = datasets.make_classification(60, 6, random_state=3)
    line, tree = linear_model.LogisticRegression(), sklearn.tree.DecisionTreeClassifier()
    scorer = sklearn.metrics.make_scorer(sklearn.metrics.fbeta_score, beta=2)
    many = {"accuracy": "accuracy", "f2": scorer}
    spread = {"C": scipy.stats.loguniform(1e-3, 1e2), "fit_intercept": [True, False]}
    depths = {"max_depth": scipy.stats.randint(1, 5), "min_samples_split": scipy.stats.uniform(0.1, 0.5)}
    folds = model_selection.RepeatedStratifiedKFold(n_splits=2, n_repeats=1, random_state=0)
    random = model_selection.RandomizedSearchCV
    selected = sklearn.feature_selection.SelectKBest(sklearn.feature_selection.mutual_info_classif, k=3)
    squared = prep.FunctionTransformer(partial(np.power, 2), validate=True)
    return {
        "random-log": random(line, spread, n_iter=3, cv=2, random_state=0).fit(X, y),
        "random-depth": random(tree, depths, n_iter=3, cv=folds, random_state=0).fit(X, y),
        "many-scorers": model_selection.GridSearchCV(line, {"C": [1.0]}, scoring=many, refit="f2", cv=2).fit(
            X, y
        ),
        "selected": pipeline.make_pipeline(selected, sklearn.svm.SVC(probability=False)).fit(X, y),
        "partial": pipeline.make_pipeline(squared, linear_model.Ridge()).fit(X, y),
        "framed": pipeline.make_pipeline(prep.StandardScaler(), line).set_output(transform="pandas"),
        "weighted": ensemble.VotingClassifier([("a", line), ("b", tree)], voting="soft", weights=[1, 2]).fit(
            X, y
        ),
        "isolation": ensemble.IsolationForest(n_estimators=4, random_state=0).fit(X),
        "sparse": sklearn.neighbors.NearestNeighbors().fit(scipy.sparse.csr_matrix(X)),
        "folds": [
            model_selection.StratifiedKFold(3),
            model_selection.GroupKFold(2),
            model_selection.TimeSeriesSplit(2),
        ],
    }


def frames(shelf):
    """Write models fitted on data frames, which keep column names and categories."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "age": [20, 30, 41, 52] * 5,
            "town": pd.Categorical(["a", "b", "a", "c"] * 5),
            "name": list("wxyz") * 5,
        }
    )
    split = compose.ColumnTransformer(
        [
            ("numbers", prep.StandardScaler(), compose.make_column_selector(dtype_include="number")),
            ("words", prep.OneHotEncoder(handle_unknown="ignore"), ["town", "name"]),
        ]
    )
    model = pipeline.make_pipeline(split, linear_model.LogisticRegression()).fit(table, [0, 1] * 10)
    shelf.add("on-frames.joblib", "pipeline fitted on a data frame, joblib, raw", dumped(model, 0))
    shelf.add("on-frames.pkl", "pipeline fitted on a data frame, pickle protocol 4", pickled(model, 4))


def bundles(shelf):
    """Write what people put beside a model into the same file."""
    iris = datasets.load_iris(as_frame=False)
    model = ensemble.RandomForestClassifier(6, random_state=0).fit(iris.data, iris.target)
    kept = {
        "model": model,
        "features": iris.feature_names,
        "classes": iris.target_names,
        "score": model.score,
    }
    kept["score"] = float(model.score(iris.data, iris.target))
    shelf.add("bundle.pkl", "model, names and score in one dict, pickle protocol 4", pickled(kept, 4))
    shelf.add("bundle.joblib", "model, names and score in one dict, joblib, raw", dumped(kept, 0))
    shelf.add("iris.pkl", "a Bunch of data, pickle protocol 5", pickled(iris, 5))
    shelf.add("iris.joblib", "a Bunch of data, joblib, zlib", dumped(iris, 3))
    shelf.add("tree.joblib", "arrays in Fortran order, joblib, raw", dumped(np.asfortranarray(iris.data), 0))


def make(folder):
    """Write the family and return its shelves."""
    np.random.seed(SEED % 2**32)  # noqa: NPY002  estimators that take no seed use the global one
    shelf = Shelf(folder, "scikit-learn")
    estimators(shelf)
    by_pickle, by_joblib = forms()
    for name, model in (composed() | searched()).items():
        for suffix, words, writer in (next(by_pickle), next(by_joblib)):
            shelf.add(f"composed/{name}.{suffix}", f"{name}, {words}", writer(model))
    frames(shelf)
    bundles(shelf)
    return [shelf]
